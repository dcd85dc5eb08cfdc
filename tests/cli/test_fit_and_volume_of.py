"""The commands `volume-of` and `fit` as a user types them."""

from __future__ import annotations

import json
import re
import shutil

import mrcfile
import numpy as np
import pytest

from cryosphere.cli.main import run
from cryosphere.maps.files import read_map, write_map
from cryosphere.maps.volume_of import VolumeSettings, volume_of
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, its map, and the model a little way off; only to be copied."""
    folder = tmp_path_factory.mktemp("made")
    model = two_domain_protein(0, (60, 40)).model
    write_model(folder / "model.cif", model)
    write_model(folder / "off.cif", model, model.positions + np.array([2.0, -1.5, 1.0]))
    volume_of(folder / "model.cif", folder / "v.mrc", VolumeSettings(pixel_size=3.0, box=32, resolution=8.0))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made, tmp_path / "here")
    return tmp_path / "here"


def fit(folder, *extra, model="off.cif", density="v.mrc", output="f.cif"):
    paths = ["--model", folder / model, "--map", folder / density, "--output", folder / output]
    return run([str(word) for word in ("-q", "fit", *paths, *extra)])


def test_a_local_fit_prints_its_table_and_writes_the_model(folder, capsys):
    assert fit(folder, "--local") == 0
    said = capsys.readouterr().out
    assert "correlation      before" in said
    assert float(re.search(r"centre moved by ([\d.]+) Å", said)[1]) == pytest.approx(np.sqrt(7.25), abs=0.1)
    moved = read_model(folder / "f.cif").positions - read_model(folder / "model.cif").positions
    assert np.abs(moved).max() < 0.1


def test_json_is_all_there_is_on_standard_output(folder, capsys):
    assert fit(folder, "--local", "--json", "--resolution", 8, "--segments", 2, "--frame", "box") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["resolution"] == 8
    assert found["correlation_before"] < found["correlation"] <= 1
    assert found["flexible"]["segments"] == 2
    assert found["hands"]["mirrored"] is None


def test_what_cannot_be_ends_with_2_and_one_message(folder, capsys):
    noise = np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32)
    write_map(folder / "noise.mrc", noise, 3.0)
    write_map(folder / "flat.mrc", noise[:20], 3.0)
    write_map(folder / "small.mrc", noise[:4, :4, :4], 3.0)
    with mrcfile.open(folder / "v.mrc") as whole:
        write_map(folder / "tiny.mrc", whole.data, 0.8)
    for options, words in (
        ({"density": "noise.mrc"}, "no density above noise"),
        ({"density": "flat.mrc"}, "32 x 32 x 20"),
        ({"density": "small.mrc"}, "too small"),
        ({"density": "tiny.mrc"}, "pixel size"),
        ({"density": "none.mrc"}, "no such file"),
        ({"density": "model.cif"}, "map"),
        ({"model": "none.cif"}, "no such file"),
        ({"model": "v.mrc"}, "binary"),
        ({"output": "f.pdb"}, ".cif"),
        ({"output": "model.cif"}, "--overwrite"),
    ):
        before = sorted(path.name for path in folder.iterdir())
        assert fit(folder, **options) == 2, options
        said = capsys.readouterr()
        assert words in said.err, options
        assert said.err.count("cryosphere: ") == 1
        assert said.out == ""
        assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("extra", [("--hand", "left"), ("--frame", "mine"), ("--segments", "many"), ("--segments=-2",)])
def test_options_that_do_not_exist_end_with_2(folder, extra):
    assert fit(folder, *extra) == 2
    assert not (folder / "f.cif").exists()


def test_volume_of_gives_the_map_that_the_library_gives(folder):
    sizes = ("--pixel-size", 3, "--box", 32, "--resolution", 8)
    for output, place in (("w.mrc", sizes), ("x.mrc", ("--like", folder / "v.mrc", "--resolution", 8))):
        arguments = ("--model", folder / "model.cif", "--output", folder / output, *place)
        assert run([str(word) for word in ("-q", "volume-of", *arguments)]) == 0
        assert (read_map(folder / output).values == read_map(folder / "v.mrc").values).all()


def test_volume_of_a_model_outside_its_box_ends_with_2(folder, capsys):
    arguments = ["--model", folder / "model.cif", "--output", folder / "w.mrc", "--pixel-size", 1, "--box", 16]
    assert run([str(word) for word in ("-q", "volume-of", *arguments)]) == 2
    assert "outside the box" in capsys.readouterr().err
    assert not (folder / "w.mrc").exists()


def test_a_name_nearly_right_is_put_right(capsys):
    assert run(["volume_off"]) == 2
    assert "volume-of" in capsys.readouterr().err
