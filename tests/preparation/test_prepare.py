"""A preparation as a whole: the model comes back to where the images show it, and settings follow from the data."""

from __future__ import annotations

import re
import shutil
import sys

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
from scipy.spatial.transform import Rotation

from cryosphere.errors import MapError
from cryosphere.maps.files import read_map, write_map
from cryosphere.maps.fitting.agreement import Agreement
from cryosphere.preparation.prepare import PreparationSettings, prepare
from cryosphere.preparation.writing import FILES
from cryosphere.settings import read_yaml
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model
from cryosphere.training.configure import configure
from cryosphere.training.prepare import read_inputs

BOX, PIXEL_SIZE = 40, 4.0  # of the images


def distance(model, other):
    return float(np.sqrt(np.square(model.positions - other.positions).sum(axis=1).mean()))


def test_a_model_moved_and_turned_away_is_brought_back_to_where_it_was_simulated(prepared):
    assert distance(read_model(prepared.given), prepared.truth) > 300
    placed = read_model(prepared.folder / "model.cif")
    assert distance(placed, prepared.truth) < 1.0
    assert prepared.found.placement.hand == "right"
    assert prepared.found.warnings == ()


def test_all_files_are_there_and_the_model_lies_in_the_map_that_is_written(prepared):
    assert sorted(path.name for path in prepared.folder.iterdir()) == sorted(FILES)
    density_map = read_map(prepared.folder / "map.mrc")
    with mrcfile.open(prepared.folder / "map.mrc") as file:
        half = -(BOX // 2) * PIXEL_SIZE
        assert file.header.origin.item() == (half, half, half)
    model = read_model(prepared.folder / "model.cif")
    assert Agreement(model, density_map, 12.0).of(model.positions) > 0.8


def test_training_takes_the_settings_as_they_are_from_wherever_it_is_started(prepared, tmp_path, monkeypatch):
    moved = tmp_path / "elsewhere"
    shutil.copytree(prepared.folder, moved)
    monkeypatch.chdir(tmp_path)
    config = configure("elsewhere/config.yaml")
    assert config.model == moved / "model.cif"
    inputs = read_inputs(config)
    assert inputs.config.images.contrast == "white"  # as simulated
    assert inputs.config.segmentation.count == 4
    assert len(inputs.table) == 400


def test_every_setting_in_the_file_has_a_reason_or_belongs_to_the_input(prepared):
    lines = (prepared.folder / "config.yaml").read_text(encoding="utf-8").splitlines()
    for name in ("box", "contrast", "count", "low_pass", "seed", "model"):
        (row,) = [k for k, line in enumerate(lines) if re.match(rf" *{name}: ", line)]
        assert lines[row - 1].lstrip().startswith("# ")
    values = read_yaml(prepared.folder / "config.yaml")
    assert set(values) == {"particles", "model", "images", "segmentation", "loss", "training"}


def test_settings_that_are_shown_but_off_can_be_switched_on_one_and_all(prepared):
    text = (prepared.folder / "config.yaml").read_text(encoding="utf-8")
    free = re.compile(r"^( *)# ( *)([a-z_]+:( [-\d.]+)?( .*)?)$", flags=re.MULTILINE)
    shown = [match[3].partition(":")[0] for match in free.finditer(text)]
    assert {"epochs", "batch_size", "mask_radius", "learning_rate", "latent_dim"} <= set(shown)
    (prepared.folder / "all.yaml").write_text(free.sub(r"\1\2\3", text), encoding="utf-8")
    try:
        assert configure(prepared.folder / "all.yaml").encoder.latent_dim == 8
    finally:
        (prepared.folder / "all.yaml").unlink()


def test_the_low_pass_is_where_model_and_map_agree_by_a_half_and_the_box_holds_it(prepared):
    table = pd.read_csv(prepared.folder / "fsc.csv")
    assert list(table.columns) == [
        "shell", "frequency_per_angstrom", "resolution_angstrom",
        "fsc_model_map", "fsc_model_map_before", "fsc_half_maps", "fsc_half_maps_corrected",
    ]  # fmt: skip
    assert table["fsc_model_map_before"].isna().all()  # it lay outside
    config = configure(prepared.folder / "config.yaml")
    low_pass = config.loss.low_pass
    if low_pass is None:  # then they agree by more in all detail
        assert table["fsc_model_map"].min() > 0.5
    else:
        falls = int(np.flatnonzero(table["fsc_model_map"] < 0.5)[0])
        around = table["resolution_angstrom"].iloc[[falls - 1, falls]]
        assert around.iloc[1] - 0.06 <= low_pass <= around.iloc[0] + 0.06
        assert 2 * BOX * PIXEL_SIZE / config.images.box < max(low_pass, 2 * PIXEL_SIZE + 1e-6)


def test_the_page_shows_three_pictures_and_every_choice(prepared):
    page = (prepared.folder / "prepare.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    for words in ("images.box", "loss.low_pass", "images.contrast", "mirror image", "cryosphere train"):
        assert words in page


def test_a_model_that_stands_right_is_left_there_and_a_given_map_is_taken_as_it_is(prepared, tmp_path):
    """The map as other programs write it, first voxel at (0, 0, 0), and the model that overlays it there."""
    volume = read_map(prepared.folder / "map.mrc").values
    write_map(tmp_path / "map.mrc", volume, PIXEL_SIZE, (0.0, 0.0, 0.0))
    model = prepared.truth.translated(np.full(3, BOX // 2 * PIXEL_SIZE))
    write_model(tmp_path / "model.cif", model)
    settings = PreparationSettings(density_map=tmp_path / "map.mrc")
    found = prepare([prepared.particles], tmp_path / "model.cif", tmp_path / "ready", settings)
    assert found.placement.chosen.kind == "as it stood, refined"
    assert found.placement.turned_degrees < 2.0
    assert "not resampled" in found.consensus.how[0]
    placed = read_model(tmp_path / "ready" / "model.cif")
    assert distance(placed, prepared.truth) < 1.0
    names = {path.name for path in (tmp_path / "ready").iterdir()}
    assert names == set(FILES) - {"half1.mrc", "half2.mrc"}


@pytest.fixture(scope="module")
def other_hand(prepared):
    """A preparation, allowed, with poses of a refinement whose map has the other hand: P A P, P the mirror along z."""
    folder = prepared.particles.parent
    tables = starfile.read(prepared.particles, always_dict=True)
    names = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    inverse = Rotation.from_euler("ZYZ", tables["particles"][names].to_numpy(), degrees=True).as_matrix()
    mirror = np.diag([1.0, 1.0, -1.0])
    tables["particles"][names] = Rotation.from_matrix(mirror @ inverse @ mirror).as_euler("ZYZ", degrees=True)
    starfile.write(tables, folder / "mirrored.star")
    settings = PreparationSettings(allow_other_hand=True)
    return prepare([folder / "mirrored.star"], prepared.given, folder / "mirrored", settings)


def test_poses_of_the_other_hand_are_told_with_the_figures_of_map_and_images(prepared, other_hand):
    assert other_hand.placement.hand == "wrong"
    other, chosen = other_hand.placement.other_hand, other_hand.placement.chosen
    assert other.in_map > chosen.in_map + 0.03
    # the mirror image of the model is seen with mirrored poses as the model is with the right ones
    assert other.image_correlation == pytest.approx(prepared.found.placement.chosen.image_correlation, rel=0.03)
    settings = (prepared.particles.parent / "mirrored" / "config.yaml").read_text(encoding="utf-8")
    assert "hand is probably wrong" in " ".join(settings.replace("#", "").split())


def test_poses_of_the_other_hand_are_refused_unless_allowed(prepared, other_hand, tmp_path, monkeypatch):
    module = sys.modules["cryosphere.preparation.prepare"]
    monkeypatch.setattr(module, "place_model", lambda *_: other_hand.placement)
    with pytest.raises(MapError, match=r"mirror image fits the model better.*--allow-other-hand"):
        prepare([prepared.particles], prepared.given, tmp_path / "ready", PreparationSettings(images=20))
    assert not list(tmp_path.iterdir())


def test_a_map_that_was_flipped_without_the_poses_is_told_from_one_of_the_wrong_hand(prepared, tmp_path):
    """Poses and map are of the right hand, but the map's file was flipped: the model fits its mirror image."""
    volume = read_map(prepared.folder / "map.mrc").values
    write_map(tmp_path / "map.mrc", volume[:, :, ::-1], PIXEL_SIZE)
    settings = PreparationSettings(density_map=tmp_path / "map.mrc")
    with pytest.raises(MapError, match=r"mirror image of what the images show.*leave out --map"):
        prepare([prepared.particles], prepared.given, tmp_path / "ready", settings)


def test_poses_that_stayed_when_the_map_was_flipped_are_told(prepared, other_hand, tmp_path):
    """The user has flipped the map to the right hand, fitted the model into it, and kept the poses."""
    settings = PreparationSettings(density_map=prepared.folder / "map.mrc")
    mirrored = prepared.particles.parent / "mirrored.star"
    with pytest.raises(MapError, match=r"flipped after the refinement, and the poses were not"):
        prepare([mirrored], prepared.folder / "model.cif", tmp_path / "ready", settings)


def test_a_map_that_was_centred_anew_is_refused_with_the_displacement(prepared, tmp_path):
    """Moved by three voxels along x: the images still show the model where it was, 12 Å to the left."""
    volume = np.roll(read_map(prepared.folder / "map.mrc").values, 3, axis=2)
    write_map(tmp_path / "map.mrc", volume, PIXEL_SIZE)
    settings = PreparationSettings(density_map=tmp_path / "map.mrc")
    with pytest.raises(MapError, match=r"show the model \(-1[12]\.\d, -?0\.\d, -?0\.\d\) Å from") as refused:
        prepare([prepared.particles], prepared.given, tmp_path / "ready", settings)
    assert "leave out --map" in str(refused.value)
