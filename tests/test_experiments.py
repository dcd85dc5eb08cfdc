"""The files in experiments/ are understood, in both sizes, and their tables are made of what was measured."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cryosphere.settings import validate
from cryosphere.simulation.config import SimulationConfig
from cryosphere.training.configure import configure

FOLDER = Path(__file__).resolve().parents[1] / "experiments"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.fixture
def room(monkeypatch) -> tuple[ModuleType, ModuleType]:
    """The modules beside the experiments; scripts, not part of the package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("spec", "tables"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("spec"), importlib.import_module("tables")


@pytest.mark.parametrize("name", NAMES)
def test_every_case_is_a_simulation_and_settings_that_exist(name: str, room) -> None:
    cases = [case for size in room[0].sizes(name) for case in room[0].load(name, size).cases]
    assert cases
    for case in cases:
        config = validate(SimulationConfig, case.with_data(Path("data"), seed=3), origin=name)
        assert config.seed == 3
        configure(overrides=case.train, particles=["p.star"], model="m.cif", seed=3)


def test_equal_simulations_share_their_images_and_seeds_do_not(room) -> None:
    cases = {case.name: case for case in room[0].load("learning", "cpu").cases}
    one, other = cases["defaults"], cases["encoder mlp"]
    assert one.data_name(0) == other.data_name(0) != one.data_name(1)


def test_another_kind_replaces_a_group_of_settings(room) -> None:
    merged = room[0].merged
    base = {"angles": {"kind": "uniform", "low": 0}, "images": {"snr": 0.1, "box": 64}}
    over = {"angles": {"kind": "discrete", "values": [1]}, "images": {"snr": 0.01}}
    assert merged(base, over) == {
        "angles": {"kind": "discrete", "values": [1]},
        "images": {"snr": 0.01, "box": 64},
    }


def test_a_table_says_what_was_not_run(room, monkeypatch) -> None:
    spec, tables = room
    monkeypatch.setattr(spec, "RESULTS", Path("nowhere"))
    text = tables.table(spec.load("toy", "full"))
    assert text.count("not run") == 2
    assert "Not run yet" in text
    assert "48 h, one A100" in text


def test_a_table_gives_the_median_with_lowest_and_highest(room) -> None:
    spread = room[1]._spread
    assert spread([0.9, 0.7, 0.8], 2) == "0.80 (0.70–0.90)"
    assert spread([0.9, 0.9001], 2) == "0.90"
    assert spread([0.9, None, 0.8], 2) == "0.85 (0.80–0.90); failed in 1 of 3"
    assert spread([None, None], 2) == "failed"
    assert spread([], 2) == "–"


def test_a_size_that_a_file_does_not_have_is_refused(room) -> None:
    with pytest.raises(SystemExit, match="no size 'full'"):
        room[0].load("learning", "full")


def test_records_of_other_settings_do_not_count(room, monkeypatch, tmp_path: Path) -> None:
    spec = room[0]
    monkeypatch.setattr(spec, "RESULTS", tmp_path)
    experiment = spec.load("toy", "cpu")
    settings = experiment.fingerprint(experiment.cases[0])
    kept = {
        "one-sided": {"0": {"settings": settings}, "1": {"settings": "older"}},
        "gone": {"0": {"settings": settings}},
    }
    experiment.results.write_text(json.dumps(kept))
    assert experiment.measured() == {"one-sided": {"0": {"settings": settings}}}


def test_the_table_of_refinement_is_made_of_what_was_measured(room, monkeypatch, tmp_path: Path) -> None:
    spec, tables = room
    monkeypatch.setattr(spec, "RESULTS", tmp_path)
    assert "Not run yet" in tables.refinement_table()
    origin = {"date": "2026-01-01", "version": "1", "torch": "2", "machine": "m"}
    records = {str(seed): dict.fromkeys(tables.ANSWERS, 0.1 * seed) | origin for seed in (1, 3)}
    (tmp_path / "refinement-cpu.json").write_text(json.dumps({"a training": records}))
    assert "| a training | 2 | 0.200 (0.100–0.300) |" in tables.refinement_table()


def test_a_long_curve_is_tabled_from_its_first_to_its_last_point(room, monkeypatch, tmp_path: Path) -> None:
    spec, tables = room
    monkeypatch.setattr(spec, "RESULTS", tmp_path)
    assert "Not run yet" in tables.curves()
    origin = {"date": "2026-01-01", "version": "1", "torch": "2", "machine": "m"}
    points = [(k / 2, k / 100) for k in range(31)]
    known = {"toy, cpu, one-sided": {"figure": "angle", "oracle": 0.9, "points": points} | origin}
    (tmp_path / "curves.json").write_text(json.dumps(known))
    text = tables.curves()
    assert "| minutes | 0.0 |" in text
    assert "| 15.0 |" in text
    assert text.count("|") == 3 * 12
