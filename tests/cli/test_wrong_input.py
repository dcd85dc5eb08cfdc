"""Wrong particles, images, models and settings: exit code 2, one message that names the thing, nothing left behind."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model
from cryosphere.training.prepare import decide_contrast

Tables = dict[str, Any]


def set_value(column: str, row: int, value: object) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        tables["particles"][column] = tables["particles"][column].astype(object)
        tables["particles"].loc[row, column] = value

    return change


def second_optics_group(column: str, value: float) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        first = tables["optics"]
        second = first.assign(rlnOpticsGroup=2, rlnOpticsGroupName="second", **{column: value})
        tables["optics"] = pd.concat([first, second])
        tables["particles"].loc[30:, "rlnOpticsGroup"] = 2

    return change


def without(column: str) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        for name, table in tables.items():
            tables[name] = table.drop(columns=column, errors="ignore")

    return change


def keep(count: int) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        tables["particles"] = tables["particles"].iloc[:count]

    return change


def as_tomography(tables: Tables) -> None:
    tables["particles"]["rlnTomoName"] = "TS_01"


# particle files


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("rlnAngleRot"), ["rlnAngleRot", "Poses are missing", "refinement"]),
        (without("rlnDefocusU"), ["rlnDefocusU"]),
        (without("rlnVoltage"), ["rlnVoltage"]),
        (without("rlnImageName"), ["rlnImageName"]),
        (as_tomography, ["tomography", "rlnTomoName"]),
        (keep(0), ["no particles"]),
        (set_value("rlnAngleTilt", 7, "nan"), ["rlnAngleTilt", "row 8", "nan"]),
        (set_value("rlnDefocusV", 7, "nan"), ["rlnDefocusV", "row 8", "nan"]),
        (set_value("rlnAnglePsi", 0, "abc"), ["rlnAnglePsi", "row 1", "abc"]),
        (second_optics_group("rlnImagePixelSize", 4.0), ["optics groups", "pixel sizes", "4", "5"]),
        (second_optics_group("rlnImageSize", 64), ["optics groups", "image sizes", "32, 64"]),
    ],
)
def test_a_star_file_that_cannot_be_used(place, change, words):
    place.edit_star(change)
    place.train().refuses(place / "particles.star", *words)


def test_cryosparc_particles_without_3d_poses(place):
    columns = {"uid": np.uint64, "blob/path": "S9", "blob/idx": np.uint32, "blob/psize_A": np.float32}
    np.save(place / "particles.npy", np.zeros(3, dtype=list(columns.items())))
    (place / "particles.npy").rename(place / "particles.cs")
    place.train(particles=place / "particles.cs").refuses(place / "particles.cs", "alignments3D/pose")


@pytest.mark.parametrize("name", ["nothing.star", "."])
def test_a_particle_file_that_is_not_there(place, name):
    place.train(particles=place / name).refuses(place / name)


# image stacks


def test_a_missing_stack_is_reported_with_every_place_tried(place):
    (place / "particles.mrcs").unlink()
    elsewhere = place / "elsewhere"
    tried = [elsewhere / "particles.mrcs", place / "particles.mrcs", place.folder.parent / "particles.mrcs"]
    place.train(datadir=elsewhere).refuses(f"(--datadir), {elsewhere}, does not exist")
    elsewhere.mkdir()
    place.train(datadir=elsewhere).refuses("1 of 1", "--datadir", *tried)


def truncated(place: Any) -> None:
    content = (place / "particles.mrcs").read_bytes()
    (place / "particles.mrcs").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, ["truncated", "60 images"]),
        (lambda place: place.replace_stack(50, 32, 32), ["row 51", "50 images"]),
        (lambda place: place.replace_stack(60, 32, 30), ["30 x 32", "square"]),
        (lambda place: place.replace_stack(60, 48, 48), ["48 x 48", "32"]),
        (lambda place: (place / "particles.mrcs").write_bytes(b"not a stack"), ["too short"]),
    ],
)
def test_a_stack_that_cannot_be_used(place, damage, words):
    damage(place)
    place.train().refuses(place / "particles.mrcs", *words)


@pytest.mark.parametrize("contrast", ["auto", "white"])  # auto looks at a sample of the images before preprocessing
@pytest.mark.parametrize(("value", "word"), [(7.0, "constant"), (np.nan, "not finite"), (np.inf, "not finite")])
def test_an_unusable_image_is_named_and_leaves_no_cache(place, monkeypatch, contrast, value, word):
    monkeypatch.setattr("cryosphere.particles.cache._PIXELS_PER_BATCH", 10 * 32 * 32)  # found in the fifth batch

    def spoil(images: Any) -> None:
        images[41] = value

    place.edit_stack(spoil)
    found = place.train("--set", f"images.contrast={contrast}")
    found.refuses("row 42", "image 42", place / "particles.mrcs", word)


# models


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pdb", b""),
        ("text.pdb", b"this is no structure\n" * 10),
        ("page.cif", b"<html><body>404</body></html>"),
        ("no_atoms.cif", b"data_x\n_cell.length_a 1\n"),
        ("binary.pdb", bytes(range(256))),
        ("damaged.pdb.gz", b"\x1f\x8b\x08\x00damaged"),
    ],
)
def test_a_model_that_is_none(place, name, content):
    (place / name).write_bytes(content)
    place.train(model=place / name).refuses(place / name, "expected an atomic model" if "gz" not in name else "damaged")


@pytest.mark.parametrize("name", ["nothing.pdb", "."])
def test_a_model_that_is_not_there(place, name):
    place.train(model=place / name).refuses(place / name)


def test_a_model_outside_the_box_is_refused_with_the_shift_that_centres_it(place):
    write_model(place / "far.cif", read_model(place / "model.cif").translated([70.0, 0.0, -50.0]))
    found = place.train(model=place / "far.cif")
    found.refuses("outside the box", "Å away")
    numbers = re.search(r"by \(([-\d.]+), ([-\d.]+), ([-\d.]+)\) Å to centre", found.said)
    assert numbers is not None
    # the simulation centres the beads' mean, not the electrons' one: they differ by a fraction of an Å
    assert np.array(numbers.groups(), dtype=float) == pytest.approx([-70.0, 0.0, 50.0], abs=0.5)


# settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainig: {epochs: 3}", ["unknown setting trainig", "did you mean training"]),
        ("training: {epoch: 3}", ["training.epoch;", "did you mean training.epochs"]),
        ("training: {learning_rate: fast}", ["training.learning_rate", "'fast'"]),
        ("training: 5", ["training", "5", "group of settings"]),
        ("particles: other.star", ["particles", "'other.star'", "group of settings"]),
        ("loss: {kl_latent: {kind: cyclic}}", ["loss.kl_latent.kind", "'cyclical'"]),
        ("segmentation: {parts: [{chan: A}]}", ["did you mean segmentation.parts.0.chain"]),
        ("images: {box: 31.5}", ["images.box", "31.5"]),
        ("- a list", ["named settings", "list"]),
        ("training: [", ["not valid YAML"]),
        ("training: {epochs: 2024-13-45}", ["not valid YAML", "month"]),
    ],
)
def test_a_wrong_settings_file(place, text, words):
    (place / "settings.yaml").write_text(text)
    place.train(place / "settings.yaml", epochs=None, segments=None).refuses(place / "settings.yaml", *words)


@pytest.mark.parametrize("name", ["nothing.yaml", ".", "particles.star", "particles.mrcs"])
def test_a_settings_file_that_is_none(place, name):
    place.train(place / name).refuses(place / name)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("nonsense", ["--set", "name=value"]),
        ("=3", ["name=value"]),
        ("loss..low_pass=8", ["name=value"]),
        ("training.epohcs=3", ["did you mean training.epochs"]),
        ("training.epochs.x=3", ["epochs", "group of settings"]),
        ("training.epochs=2001-99-99", ["training.epochs", "2001-99-99"]),
        ("loss.low_pass=[", ["loss.low_pass"]),
        ("loss.low_pass=.nan", ["loss.low_pass", "finite"]),
        ("training.learning_rate=.inf", ["training.learning_rate", "finite"]),
        ("training.seed=99999999999999999999", ["training.seed"]),
        ("encoder.hidden=[-5]", ["encoder.hidden.0"]),
        ("segmentation.parts=[{chain: Q}]", ["'Q'", "A"]),
        ("segmentation.parts=[{chain: A, first: 900}]", ["900", "1 to 100"]),
        ("training.device=gpu", ["training.device", "'cuda'"]),
    ],
)
def test_a_wrong_override(place, override, words):
    options = {"segments": None} if "parts" in override else {}
    place.train("--set", override, **options).refuses(*words)


@pytest.mark.parametrize("option", ["particles", "model"])
def test_a_pipe_or_device_is_refused_instead_of_read_for_ever(place, option):
    os.mkfifo(place / "pipe")
    place.train(**{option: place / "pipe"}).refuses("pipe", "regular file")


def test_a_low_pass_that_leaves_nothing_of_the_images_is_refused(place):
    place.train("--set", "loss.low_pass=100").refuses("loss.low_pass is 100", "160 Å wide", "up to 40")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"segments": 1000}, ["segmentation.count is 1000", "100 residues"]),
        ({"segments": 0}, ["segmentation.count"]),
        ({"epochs": "many"}, ["--epochs", "many"]),
        ({"epochs": -1}, ["training.epochs", "-1"]),
        ({"box": 64}, ["images.box is 64", "only 32"]),
        ({"box": 4}, ["images.box"]),
        ({"particles": None}, ["no particles given", "--particles"]),
        ({"model": None}, ["no atomic model given", "--model"]),
        ({"outdir": None}, ["--outdir"]),
    ],
)
def test_wrong_or_missing_options(place, options, words):
    place.train(**options).refuses(*words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_that_is_not_there(place):
    place.train(device="cuda").refuses("CUDA", "--device auto")


# the output folder


@pytest.mark.parametrize("name", ["particles.star", "particles.star/run"])
def test_an_output_folder_that_is_a_file_or_in_one(place, name):
    place.train(outdir=place / name).refuses(place / "particles.star", "is a file")


def test_an_output_folder_without_permission_to_write(place, monkeypatch):
    monkeypatch.setattr("cryosphere.training.run_directory.os.access", lambda *_: False)  # root may write anywhere
    place.train().refuses("no permission", place.folder)


@pytest.mark.skipif(not Path("/proc/self").is_dir() or os.name != "posix", reason="needs a folder nobody can write to")
def test_an_output_folder_in_which_nothing_can_be_made(place):
    place.train(outdir="/proc/cryosphere-test/run").refuses("/proc")


@pytest.mark.parametrize("option", [[], ["--overwrite"]])
def test_files_that_are_no_run_are_never_replaced(place, option):
    # a user in the folder of the data who says --outdir . must keep model.cif and particles.star
    before = {path: path.read_bytes() for path in place.folder.iterdir()}
    place.train(*option, outdir=place.folder).refuses("not a run", "model.cif", "particles.star")
    assert {path: path.read_bytes() for path in place.folder.iterdir()} == before


# unusual, but right


@pytest.mark.parametrize("count", [1, 2, 9])
def test_tiny_data_sets_run(place, count):
    place.edit_star(keep(count))
    place.train("-q").succeeds()
    place.cryosphere("-q", "structures", place.run, "--output", place / "s.npz").succeeds()
    assert np.load(place / "s.npz")["coordinates"].shape == (count, 100, 3)


def test_a_single_image_can_be_analysed(place):
    place.edit_star(keep(1))
    place.train("-q").succeeds()
    place.cryosphere("-q", "analyze", place.run).succeeds()
    assert (place.run / "analysis" / "report.html").is_file()


@pytest.mark.parametrize("box", [8, 9, 31])
def test_small_and_odd_boxes_run(place, box):
    place.train("-q", box=box).succeeds()
    assert f"box: {box}" in (place.run / "config.yaml").read_text()


def test_optics_groups_of_different_voltage_run_together(place):
    place.edit_star(second_optics_group("rlnVoltage", 200.0))
    place.train("-q").succeeds()
    kept = (place.run / "particles.star").read_text()
    assert "200.0" in kept and "300.0" in kept


def test_quiet_says_nothing_when_all_is_well(place):
    assert place.train("-q").said == ""


@pytest.mark.parametrize(
    ("mean", "contrast", "is_sure"), [(0.1, "white", True), (-0.1, "black", True), (0.01, "white", False)]
)
def test_contrast_that_the_images_hardly_show_is_told_as_unsure(mean, contrast, is_sure):
    # 25 images that scatter by 0.1: the mean's standard error is 0.02, and three of them are asked for
    sample = torch.linspace(-1.0, 1.0, 25)
    found, why = decide_contrast(mean + 0.1 * sample / sample.std())
    assert found == contrast
    assert ("be sure" not in why) == is_sure
