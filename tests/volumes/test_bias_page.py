"""The bias page, its tables and maps, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from tests.volumes.protein import CHAIN, SIGMA, density_map, folded, segmented

from cryosphere.errors import InputError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.files import read_map
from cryosphere.progress import SILENT
from cryosphere.volumes.bias import assess, write_bias_page
from cryosphere.volumes.bias_page import bias_page
from cryosphere.volumes.bias_pictures import runs_of, state_figure, support_figure
from cryosphere.volumes.bias_wording import advice, comparison, conclusion

GRID = ImageGrid(30, 3.6)
ABSENT = np.arange(100, 120)  # residues 41-60 of chain B
pytestmark = pytest.mark.usefixtures("no_warnings")


@dataclass
class Opened:
    """What the page asks of a run."""

    path: Path
    segmentation: object
    places: np.ndarray
    progress: object = SILENT
    model: ClassVar[object] = SimpleNamespace(config=SimpleNamespace(beads=SimpleNamespace(sigma=SIGMA)))

    def coordinates(self, *, z) -> np.ndarray:
        return np.repeat(self.places[None], len(z), axis=0)

    def __len__(self) -> int:
        return 1000


def opened(folder: Path, **changes) -> Opened:
    beads = folded()
    return Opened(folder / "run", segmented(beads, **changes), beads.positions)


def states_of(run: Opened, present, count: int = 2, noise: float = 1.0):
    electrons = run.segmentation.beads.amplitudes * present
    return [density_map(run.places, electrons, GRID, noise, seed) for seed in range(count)]


def present_without(rows) -> np.ndarray:
    present = np.ones(2 * CHAIN)
    present[rows] = 0.0
    return present


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bias")
    run = opened(folder)
    write_bias_page(run, states_of(run, present_without(ABSENT)), folder / "out", "nearest images")
    return folder / "out"


def test_the_table_of_residues_names_each_as_the_model_does(written):
    table = pd.read_csv(written / "support.csv")
    assert list(table.columns) == [
        "chain", "residue", "insertion", "name", "support", "error", "correlation", "segment", "verdict",
    ]  # fmt: skip
    assert len(table) == 2 * CHAIN
    assert table["support"].between(0, 1).all()
    absent = table[table["verdict"] == "absent"]
    assert set(absent["chain"]) == {"B"}
    assert absent["residue"].min() == pytest.approx(41, abs=2)
    assert absent["residue"].max() == 60
    assert absent["support"].mean() < 0.25
    assert table[table["chain"] == "A"]["support"].mean() > 0.9


def test_local_correlation_dips_where_residues_are_absent(written):
    table = pd.read_csv(written / "support.csv")
    absent = table["verdict"] == "absent"
    assert table["correlation"][absent].max() < table["correlation"][table["chain"] == "A"].min()
    assert table["correlation"][absent].min() < 0.93


def test_segments_have_their_verdicts_and_partly_absent_ones_say_how_much(written):
    table = pd.read_csv(written / "support_segments.csv").set_index("segment")
    assert list(table.index) == ["S1", "S2", "S3", "S4"]
    assert (table.loc[["S1", "S2", "S3"], "verdict"] == "supported").all()
    assert table.loc["S4", "verdict"] == "weak"  # 20 of its 30 residues
    assert table.loc["S4", "absent"] == pytest.approx(20, abs=2)


def test_difference_maps_are_in_units_of_the_noise_and_deep_where_residues_are_absent(written):
    beads = folded()
    for index in range(2):
        found = read_map(written / f"difference_{index:03d}.mrc")
        assert found.pixel_size == pytest.approx(3.6)
        voxels = np.round(beads.positions / 3.6).astype(int)[:, ::-1] + 15
        values = found.values[tuple(voxels.T)]
        assert values[ABSENT].mean() < -3
        assert abs(values[:CHAIN].mean()) < 1
        border = np.concatenate([found.values[:3].ravel(), found.values[-3:].ravel()])
        assert border.std() == pytest.approx(1, abs=0.3)


def test_the_page_says_which_residues_are_not_in_the_images_and_needs_nothing_else(written):
    html = (written / "bias.html").read_text(encoding="utf-8")
    assert "of chain B are not where the model has them" in html
    assert "nearest images" in html
    assert html.count("data:image/png;base64,") == 4  # support, correlation and two states
    assert "<script" not in html
    assert "src='http" not in html
    for name in ("support.png", "correlation.png", "state_000.png", "state_001.png"):
        assert (written / name).read_bytes().startswith(b"\x89PNG")


def test_the_page_says_when_maps_were_compared_with_single_structures(tmp_path, written):
    """States without a bandwidth are the volume decoder's; those of kernel regression have one."""
    single = "compared with the single structure at its latent"
    assert single in (written / "bias.html").read_text(encoding="utf-8")
    run = opened(tmp_path)
    found = assess(run, states_of(run, np.ones(2 * CHAIN), count=1))
    assert single in comparison(found)
    by_kernel = replace(found, states=[replace(state, bandwidth=2.0) for state in found.states])
    assert comparison(by_kernel) == ""
    assert single not in bias_page(by_kernel, run.path)[0]


def colours_of(figure) -> list[tuple[float, float]]:
    """The values at the ends of each panel's colours, row by row: structure, map and difference."""
    return [axes.images[0].get_clim() for axes in figure.axes]


def test_what_a_networks_map_lacks_is_drawn_as_a_part_of_the_structures_density(tmp_path):
    """Its half-maps share what it has not learned, so that their difference would colour too much."""
    run = opened(tmp_path)
    found = assess(run, states_of(run, present_without(ABSENT), count=1, noise=0.01))
    figure, shown = state_figure(found, 0), found.maps[0].shown()
    structure, difference = colours_of(figure)[:6], colours_of(figure)[12:]
    assert difference == [(-white, white) for _, white in structure]
    drawn = figure.axes[12].images[0].get_array()
    assert 0.5 < -drawn.min() / structure[0][1] <= 1.2  # the absent residues, whose centre the section goes through
    assert np.abs(shown.difference).max() > 20  # standard deviations of the noise
    assert "as much as white in the rows above" in bias_page(found, run.path)[0]


def test_what_a_map_of_few_images_lacks_is_drawn_in_standard_deviations_of_its_noise(tmp_path):
    run = opened(tmp_path)
    found = assess(run, states_of(run, present_without(ABSENT), count=1))
    found = replace(found, states=[replace(state, bandwidth=2.0) for state in found.states])
    figure = state_figure(found, 0)
    assert colours_of(figure)[12:15] == [(-6.0, 6.0)] * 3
    section = found.maps[0].shown().difference
    assert any(np.array_equal(figure.axes[12].images[0].get_array(), plane) for plane in section)
    page = bias_page(found, run.path)[0]
    assert "standard deviations of the noise" in page
    assert "white in the rows above" not in page


def test_each_stretch_is_shaded_once(tmp_path):
    assert runs_of(np.array([3, 4, 5, 5, 9, 11, 12])) == [(3, 5), (9, 9), (11, 12)]
    assert runs_of(np.array([], dtype=np.int64)) == []
    run = opened(tmp_path)
    found = assess(run, states_of(run, present_without(ABSENT), count=1))
    shaded = [len(axes.patches) for axes in support_figure(found).axes]
    assert shaded == [0, len(found.stretches("absent")) + len(found.stretches("weak"))]


def test_where_everything_is_there_nothing_is_said_against_the_model(tmp_path):
    run = opened(tmp_path)
    found = assess(run, states_of(run, np.ones(2 * CHAIN)))
    assert conclusion(found).startswith("The density supports all 120 residues of the model.")
    assert "not in the images" not in conclusion(found)
    assert advice(found) == "Nothing in these maps speaks against any part of the model."


def test_a_whole_absent_segment_is_called_absent(tmp_path):
    run = opened(tmp_path, length=20)
    found = assess(run, states_of(run, present_without(ABSENT)))
    assert [one.verdict for one in found.segments] == ["supported"] * 5 + ["absent"]


def test_residues_held_fixed_have_a_verdict_of_their_own(tmp_path):
    run = opened(tmp_path)
    run.segmentation.membership[:30] = 0.0
    found = assess(run, states_of(run, np.ones(2 * CHAIN), count=1))
    assert found.segments[0].name == "held fixed"
    assert set(found.residue_table()["segment"][:30]) == {"fixed"}


def test_states_that_cannot_be_compared_are_refused(tmp_path):
    run = opened(tmp_path)
    with pytest.raises(InputError, match="at least one state"):
        write_bias_page(run, [], tmp_path / "out", "")
    one = states_of(run, np.ones(2 * CHAIN), count=1)
    other = [density_map(run.places, run.segmentation.beads.amplitudes, ImageGrid(32, 3.6), 1.0)]
    with pytest.raises(InputError, match="differ in box or voxel size"):
        write_bias_page(run, one + other, tmp_path / "out", "")
    assert not (tmp_path / "out").exists()
