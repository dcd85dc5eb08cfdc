"""The command `prepare`: what it leaves, that training takes it, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from cryosphere.maps.files import write_map
from cryosphere.preparation import prepare as preparation
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model

SIDE = 32 * 5.0  # Å, of the images


def prepared(place, *extra, **replaced):
    options = {"particles": place / "particles.star", "model": place / "model.cif", "outdir": place / "ready"}
    given = [x for name, value in {**options, **replaced}.items() for x in (f"--{name}", value)]
    return place.cryosphere("prepare", *given, *extra)


@pytest.fixture
def no_work(monkeypatch):
    """What is wrong is to be found before any work."""

    def work(*_):
        raise AssertionError("work has begun")

    monkeypatch.setattr(preparation, "place_model", work)
    monkeypatch.setattr(preparation, "consensus_from_images", work)


def blob(box, pixel_size):
    axis = (np.arange(box) - box // 2) * pixel_size
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    return np.exp(-squared / 800).astype(np.float32)


def a_map(place, shape, pixel_size):
    whole = np.zeros(shape, dtype=np.float32)
    side = min(shape)
    whole[:side, :side, :side] = blob(side, pixel_size)
    write_map(place / "map.mrc", whole, pixel_size)
    return place / "map.mrc"


def test_what_is_prepared_is_trained_on_as_it_is_dark_protein_included(place, tmp_path, monkeypatch):
    place.edit_stack(lambda images: np.negative(images, out=images))
    done = prepared(place, "--segments", 2, "--mask")
    done.succeeds()
    for words in ("adding images to the map", "searching", "prepare.html"):
        assert words in done.said
    settings = (place / "ready" / "config.yaml").read_text(encoding="utf-8")
    assert "contrast: black" in settings
    assert "\n  mask_radius: " in settings
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    place.cryosphere("train", "../project/ready/config.yaml", "--outdir", "run", "--epochs", 1).succeeds()
    assert (tmp_path / "elsewhere" / "run" / "model.cif").is_file()


def test_particles_without_poses_are_refused(place, no_work):
    def drop(tables):
        tables["particles"] = tables["particles"].drop(columns=["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"])

    place.edit_star(drop)
    prepared(place).refuses(place / "particles.star", "rlnAngleRot")


@pytest.mark.parametrize(
    ("shape", "pixel_size", "words"),
    [
        ((32, 32, 32), 4.0, ["4 Å", "5 Å", "pixel sizes"]),
        ((32, 32, 32), 5.05, ["5.05 Å", "5 Å", "pixel sizes"]),
        ((64, 64, 64), 5.0, ["320 Å", "160 Å", "field of view"]),
        ((32, 32, 40), 5.0, ["40 x 32 x 32", "cube"]),
    ],
)
def test_a_map_that_is_not_of_these_images_is_refused(place, no_work, shape, pixel_size, words):
    path = a_map(place, shape, pixel_size)
    place_words = [path, *words]
    prepared(place, map=path).refuses(*place_words)


@pytest.mark.parametrize(("box", "noted"), [(24, "24"), (48, "48")])
def test_a_map_of_the_same_field_of_view_on_other_pixels_is_taken(place, monkeypatch, box, noted):
    seen = []

    def stop(_, density_map, *__):
        seen.append(density_map)
        raise preparation.MapError("far enough")

    monkeypatch.setattr(preparation, "place_model", stop)
    prepared(place, map=a_map(place, (box,) * 3, SIDE / box)).refuses("far enough")
    assert seen[0].pixel_size == pytest.approx(SIDE / box)
    assert seen[0].origin[0] == pytest.approx(-SIDE / 2)


def test_a_map_without_density_is_refused(place):
    noise = np.random.default_rng(0).standard_normal((32, 32, 32)).astype(np.float32)
    write_map(place / "map.mrc", noise, 5.0)
    prepared(place, map=place / "map.mrc").refuses("map.mrc", "no density above noise")


def test_a_model_much_larger_than_the_images_is_refused(place, no_work):
    model = read_model(place / "model.cif")
    write_model(place / "large.cif", model, 8 * model.positions)
    prepared(place, model=place / "large.cif").refuses(place / "large.cif", "would need a box")


def test_a_folder_with_something_in_it_is_kept(place, no_work):
    (place / "ready").mkdir()
    (place / "ready" / "model.cif").write_text("mine")
    prepared(place).refuses("ready", "--overwrite")
    (place / "ready" / "thesis.tex").write_text("mine")
    prepared(place, "--overwrite").refuses("thesis.tex")
    assert (place / "ready" / "model.cif").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--segments", 0], ["0 segments"]),
        (["--segments", 101], ["101 segments", "100"]),
        (["--seed", -1], ["seed"]),
        (["--contrast", "grey"], ["grey"]),
        (["--map", "nothing.mrc"], ["nothing.mrc"]),
        (["--map", "map.mrc", "--images", 20], ["--images", "--map"]),
    ],
)
def test_options_that_cannot_be_met_are_refused(place, no_work, options, words):
    prepared(place, *options).refuses(*words)


@pytest.mark.parametrize("images", [1, 61])
def test_as_many_images_as_there_are_not_are_refused(place, images):
    prepared(place, "--images", images).refuses(f"{images} images", "60")


def test_a_missing_stack_is_refused(place, no_work):
    (place / "particles.mrcs").unlink()
    prepared(place).refuses("particles.mrcs")


def test_an_image_that_cannot_be_used_is_named_and_nothing_is_left(place):
    def spoil(images):
        images[41] = np.nan

    place.edit_stack(spoil)
    prepared(place).refuses("row 42", "not finite")
