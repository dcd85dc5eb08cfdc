"""What the report, its table and its picture say of residues that the images lack."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cryosphere.analysis.analyze import AnalysisSettings, analyze
from cryosphere.analysis.occupancy import residue_occupancy
from cryosphere.analysis.pictures.chains import ChainLayout, occupancy_along_chains

Z = np.random.default_rng(0).normal(size=(300, 1)).astype(np.float32)
LAST_TEN = slice(90, 100)  # of the 100 residues of the chain; the ligand is number 100
SETTINGS = AnalysisSettings(points=3, clusters=0)


def without_the_last_ten(z: np.ndarray) -> np.ndarray:
    found = np.ones((len(z), 101))
    found[:, LAST_TEN] = 0.05
    return found


def half_without_the_last_ten(z: np.ndarray) -> np.ndarray:
    found = np.ones((len(z), 101))
    found[z[:, 0] < 0, LAST_TEN] = 0.05
    found[:, 0] = 0.6
    return found


def test_a_run_that_learned_none_tells_none(build_run, tmp_path) -> None:
    run = build_run(tmp_path, Z)
    assert residue_occupancy(run) is None
    folder = analyze(run, settings=SETTINGS)
    assert not (folder / "occupancy.csv").exists()
    assert not (folder / "pictures" / "occupancy.png").exists()
    assert "How much of each residue" not in (folder / "report.html").read_text()


def test_absent_residues_are_named_in_table_and_report(build_run, tmp_path) -> None:
    folder = analyze(build_run(tmp_path, Z, occupancy=without_the_last_ten), settings=SETTINGS)
    table = pd.read_csv(folder / "occupancy.csv", keep_default_na=False)
    assert list(table.columns) == ["chain", "residue", "insertion", "name", "segment", "occupancy"]
    assert (table["occupancy"] == np.where(np.isin(np.arange(101), np.arange(90, 100)), 0.05, 1.0)).all()
    page = (folder / "report.html").read_text()
    assert "10 residues of the input model are not in the images" in page
    assert "in some images and not in others" not in page
    assert "occupancy.csv" in page
    assert (folder / "pictures" / "occupancy.png").exists()


def test_residues_that_half_of_the_images_lack_are_told_apart_from_faint_ones(build_run, tmp_path) -> None:
    folder = analyze(build_run(tmp_path, Z, occupancy=half_without_the_last_ten), settings=SETTINGS)
    table = pd.read_csv(folder / "occupancy.csv")
    assert table.loc[LAST_TEN.start : 99, "occupancy"].to_numpy() == pytest.approx(
        np.where(Z < 0, 0.05, 1.0).mean(), abs=1e-3
    )
    assert (table.loc[90:99, "percentile_5"] == 0.05).all()
    assert (table.loc[90:99, "percentile_95"] == 1.0).all()
    page = (folder / "report.html").read_text()
    assert "10 residues are in some images and not in others" in page
    assert "1 residue is only partly there" in page
    assert "not in the images" not in page


def test_occupancies_are_drawn_with_and_without_a_band(is_picture) -> None:
    made = ChainLayout(
        np.repeat(["A", "B"], 30), np.tile(np.arange(30), 2), np.zeros(60, dtype=np.int64), np.array([60])
    )
    values = np.linspace(0, 1, 60)
    assert is_picture(occupancy_along_chains(made, values))
    assert is_picture(occupancy_along_chains(made, values, (0.5 * values, 1.1 * values)))
