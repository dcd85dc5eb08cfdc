"""The command `backproject`: what it leaves, and what it refuses."""

from __future__ import annotations

import mrcfile
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cryosphere.files import replacing
from cryosphere.maps import backproject

FILES = ["fsc.csv", "fsc.png", "half1.mrc", "half2.mrc", "map.mrc", "slices.png"]


def backprojected(place, *extra, out="maps", particles="particles.star"):
    return place.cryosphere("backproject", "--particles", place / particles, "--outdir", place / out, *extra)


def without_poses(tables):
    tables["particles"] = tables["particles"].drop(columns=["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"])


def test_maps_curves_and_pictures_are_left_and_what_was_decided_is_said(place):
    done = backprojected(place)
    done.succeeds()
    assert sorted(path.name for path in (place / "maps").iterdir()) == FILES
    for words in ("adding images to the map", "halves: 30 and 30", "scale: ", "contrast: ", "mask: ", "at 0.143"):
        assert words in done.said
    with mrcfile.open(place / "maps" / "map.mrc") as file:
        assert file.data.shape == (32, 32, 32)
        assert file.voxel_size.x == pytest.approx(5.0)
        assert file.header.origin.item() == (-80.0, -80.0, -80.0)  # voxel 16 stands at the model's origin
        whole = np.array(file.data)
    assert mrcfile.validate(place / "maps" / "map.mrc")
    halves = [mrcfile.read(place / "maps" / f"half{k}.mrc") for k in (1, 2)]
    assert np.corrcoef(whole.ravel(), (halves[0] + halves[1]).ravel())[0, 1] > 0.7
    assert not np.allclose(*halves)
    for name in ("fsc.png", "slices.png"):
        assert np.array(Image.open(place / "maps" / name).convert("L")).std() > 5


def test_the_table_of_correlations_names_its_units(place):
    backprojected(place, "--box", 24).succeeds()
    table = pd.read_csv(place / "maps" / "fsc.csv")
    curves = ["fsc_unmasked", "fsc_masked", "fsc_phase_randomised", "fsc_corrected"]
    assert list(table.columns) == ["shell", "frequency_per_angstrom", "resolution_angstrom", *curves]
    assert table["shell"].tolist() == list(range(1, 12))
    assert table["resolution_angstrom"].iloc[0] == pytest.approx(160.0)  # the images' width
    assert table["frequency_per_angstrom"].iloc[-1] == pytest.approx(11 / 160)
    assert table[curves[:3]].abs().max().max() <= 1.0


def test_the_same_command_makes_the_same_map_and_another_seed_other_halves(place):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        backprojected(place, "--images", 40, "--seed", seed, out=name).succeeds()
    one, same, other = (mrcfile.read(place / name / "half1.mrc") for name in "abc")
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_maps_that_are_there_are_kept_unless_they_may_be_replaced(place):
    backprojected(place).succeeds()
    before = (place / "maps" / "map.mrc").read_bytes()
    backprojected(place, "--images", 20).refuses("maps", "map.mrc", "--overwrite")
    assert (place / "maps" / "map.mrc").read_bytes() == before
    backprojected(place, "--images", 20, "--overwrite").succeeds()
    assert (place / "maps" / "map.mrc").read_bytes() != before


def test_particles_without_poses_are_refused(place):
    place.edit_star(without_poses)
    backprojected(place).refuses(place / "particles.star", "rlnAngleRot", "Poses are missing")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--box", 64], ["box is 64", "32"]),
        (["--box", 4], ["box is 4"]),
        (["--images", 61], ["61 images", "60"]),
        (["--images", 1], ["1 images"]),
        (["--diameter", 500], ["diameter is 500", "160"]),
        (["--diameter", -3], ["diameter is -3"]),
        (["--mask", "nothing.mrc"], ["nothing.mrc"]),
        (["--contrast", "grey"], ["grey"]),
        (["--device", "cuda"], ["CUDA"]),
        (["--seed", -1], ["seed"]),
    ],
)
def test_options_that_cannot_be_met_are_refused(place, options, words):
    backprojected(place, *options).refuses(*words)


def test_an_image_that_cannot_be_used_is_named_and_nothing_is_left(place):
    def spoil(images):
        images[41] = np.nan

    place.edit_stack(spoil)
    backprojected(place).refuses("row 42", "not finite")


def test_a_file_where_the_folder_should_be_is_refused(place):
    (place / "maps").write_text("")
    backprojected(place).refuses("maps is a file")


def test_either_all_files_appear_or_none(place, monkeypatch):
    """The disk is full when the second half-map is written; also where there were maps before."""

    def full(path, *what):
        if "half2" in path.name:
            raise OSError(28, "No space left on device")
        with replacing(path) as temporary:
            temporary.write_bytes(b"map")

    monkeypatch.setattr(backproject, "write_map", full)
    backprojected(place).refuses("half2.mrc", "disk or quota is full")
    (place / "maps").mkdir()
    (place / "maps" / "map.mrc").write_text("old")
    backprojected(place, "--overwrite").refuses("half2.mrc", "disk or quota is full")
    assert (place / "maps" / "map.mrc").read_text() == "old"
