"""`cryosphere validate`: a verdict for each motion, a page, halves that are gone on with, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryosphere.particles.read import read_particles
from cryosphere.particles.star import write_star
from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model
from cryosphere.training.configure import configure
from cryosphere.training.train import train

from .conftest import Place, Shell

SMALL = ("encoder.hidden=[32]", "encoder.latent_dim=2", "encoder.grid=8", "decoder.hidden=[16]", "particles.check=off")
IMAGES = 240


@pytest.fixture(scope="module")
def validated(tmp_path_factory) -> Path:
    """A project with a run of two epochs and its validation in `v`; only to be copied."""
    folder = tmp_path_factory.mktemp("validated") / "project"
    folder.mkdir()
    protein = two_domain_protein(0, (60, 40))
    write_model(folder / "protein.cif", protein.model)
    images = ImageSettings(count=IMAGES, box=32, pixel_size=5.0, snr=1.0, shift=0.0)
    simulate(
        SimulationConfig(model=folder / "protein.cif", motion=protein.opening(60.0, 50), images=images), folder / "data"
    )
    particles, model = folder / "data" / "particles.star", folder / "data" / "model.cif"
    train(configure(particles=particles, model=model, epochs=2, segments=2, overrides=SMALL), folder / "run")
    from cryosphere.cli.main import run

    assert run(["-q", "validate", str(folder / "run"), "--outdir", str(folder / "v"), "--epochs", "1"]) == 0
    return folder


@pytest.fixture
def finished(validated, capsys):
    """The project itself, at its own place, restored from a copy afterwards."""
    kept = validated.with_name("kept")
    shutil.copytree(validated, kept)
    yield Place(validated, Shell(capsys, validated.parent))
    shutil.rmtree(validated)
    kept.rename(validated)


def again(place: Place, *options: object, outdir: str = "v", epochs: int = 1):
    return place.cryosphere("-q", "validate", place / "run", "--outdir", place / outdir, "--epochs", epochs, *options)


def test_the_verdict_names_every_motion_with_figures_and_reasons(validated):
    found = json.loads((validated / "v" / "verdict.json").read_text())
    assert found["motions"]
    for motion in found["motions"]:
        assert motion["verdict"] in ("reproduced", "weak", "not supported")
        assert motion["name"].startswith("motion ")
        assert motion["reasons"]
        assert -1 <= motion["correlation"] <= 1
        assert 0 < motion["p_value"] <= 1
    assert found["sets"]["images"] == IMAGES
    assert found["sets"]["compared"] + sum(found["sets"]["trained_on"]) == IMAGES
    assert "drawn with seed 0" in found["sets"]["how"]


def test_the_table_has_a_row_for_each_residue(validated):
    table = pd.read_csv(validated / "v" / "validation.csv")
    assert len(table) == 100
    assert table["correlation_split_data"].between(-1, 1).all()


def test_the_page_needs_nothing_else_and_says_the_verdict(validated):
    page = (validated / "v" / "validation.html").read_text()
    conclusion = json.loads((validated / "v" / "verdict.json").read_text())["conclusion"]
    assert conclusion.split(":")[0] in page
    assert "src='data:image/png" in page
    assert "http" not in page.split("</style>")[1]
    assert not list((validated / "v").glob(".*"))


def test_the_halves_share_no_image_with_each_other_or_with_those_compared(validated):
    halves = [read_particles(validated / "v" / f"half{n}" / "particles.star").image_index for n in (1, 2)]
    assert not np.intersect1d(*halves).size
    assert sum(map(len, halves)) < IMAGES


def test_the_same_command_again_trains_nothing_and_says_the_same(finished):
    verdict, weights = finished / "v" / "verdict.json", sorted((finished / "v").glob("half*/checkpoints/*"))
    before, times = verdict.read_text(), [path.stat().st_mtime_ns for path in weights]
    verdict.unlink()
    again(finished).succeeds()
    assert verdict.read_text() == before
    assert [path.stat().st_mtime_ns for path in weights] == times


def test_halves_of_another_seed_are_not_gone_on_with(finished):
    before = (finished / "v" / "verdict.json").read_text()
    again(finished, "--seed", 1).refuses("half1.star", "other images", "--outdir")
    assert (finished / "v" / "verdict.json").read_text() == before


def test_halves_of_other_epochs_are_not_gone_on_with(finished):
    """What is said is of use to someone who gave this command, and has no --resume or --overwrite."""
    answer = again(finished, epochs=3)
    answer.refuses("half1", "begun for 1 epoch", "--epochs 1", "--outdir")
    assert "--overwrite" not in answer.said
    assert "--resume" not in answer.said


def test_a_half_that_was_trained_with_a_model_of_other_residues_is_refused(finished):
    path = finished / "v" / "half1" / "model.cif"
    whole = read_model(path)
    structure = whole.structure.clone()
    del structure[0][0][0]
    structure.make_mmcif_document().write_file(str(path))
    assert len(read_model(path).beads) == len(whole.beads) - 1
    again(finished).refuses("half1", "other residues", "99", "100")


def test_images_that_have_gone_are_told_of_before_anything_is_trained(finished):
    (finished / "data" / "particles.mrcs").unlink()
    for cached in finished.folder.glob("**/spectra-*.npy"):
        cached.unlink()
    again(finished, outdir="new").refuses("particles.mrcs")


def test_stacks_that_have_gone_are_told_of_even_where_preprocessed_images_are_kept_and_nothing_is_left_behind(finished):
    (finished / "data" / "particles.mrcs").unlink()
    again(finished, outdir="new").refuses("particles.mrcs", "run/particles.star")
    assert not (finished / "new").exists()


@pytest.mark.parametrize("name", ["verdict.json", "validation.html", "validation.csv", "pictures/places.png", "half1"])
def test_files_of_others_are_not_replaced(finished, name):
    path = finished / "new" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"motions": "mine"}')
    again(finished, outdir="new").refuses(path.name, "choose another")
    assert path.read_text() == '{"motions": "mine"}'
    assert [one for one in (finished / "new").rglob("*") if one.is_file()] == [path]


@pytest.mark.parametrize("content", [b"", b"mine", b"data_particles\n\nloop_\n_rlnMine #1\n1\n"])
def test_a_particle_file_of_others_where_a_half_would_be_listed_is_said_to_be_in_the_way(finished, content):
    path = finished / "new" / "half1.star"
    path.parent.mkdir()
    path.write_bytes(content)
    again(finished, outdir="new").refuses(f"{path} is in the way", "choose another --outdir")
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is Linux's")
def test_where_a_system_shows_itself_no_folder_is_made(finished):
    again(finished, outdir="/proc/validated").refuses("/proc/validated: no files can be written there", "--outdir")


def test_a_model_of_ones_own_is_not_taken_for_the_one_without_a_segment(finished):
    path = finished / "v" / "omitted.cif"
    shutil.copy(finished / "protein.cif", path)
    before = path.read_bytes()
    again(finished, "--omit-segment").refuses("omitted.cif", "move it away")
    assert path.read_bytes() == before


def test_a_run_of_ones_own_is_not_taken_for_a_half(finished):
    shutil.copytree(finished / "run", finished / "new" / "half1")
    again(finished, outdir="new").refuses("half1", "not half of a validation", "--outdir")
    assert not (finished / "new" / "half1.star").exists()


def test_the_verdict_on_another_run_is_not_replaced(finished):
    (finished / "run").rename(finished / "other")
    before = (finished / "v" / "verdict.json").read_text()
    answer = finished.cryosphere("-q", "validate", finished / "other", "--outdir", finished / "v", "--epochs", 1)
    answer.refuses("verdict.json", "another run", "run, not other")
    assert (finished / "v" / "verdict.json").read_text() == before


def test_no_temporary_folder_is_named_to_the_user(finished):
    answer = finished.cryosphere("validate", finished / "run", "--outdir", finished / "v", "--epochs", 1)
    answer.succeeds()
    assert "half1.star" in answer.said
    assert "/." not in answer.said


def test_the_pictures_of_the_page_lie_beside_it(validated):
    names = {path.name for path in (validated / "v" / "pictures").iterdir()}
    assert {"gains.png", "chain.png"} <= names <= {"gains.png", "chain.png", "correlations.png", "places.png"}
    page = (validated / "v" / "validation.html").read_text()
    assert page.count("src='data:image/png") == len(names)


def test_half_sets_of_very_different_size_are_refused(finished):
    particles = finished / "run" / "particles.star"
    table = read_particles(particles)
    table.half_set[:] = np.where(np.arange(IMAGES) < 40, 2, 1)
    write_star(particles, table)
    again(finished, outdir="new").refuses("200 images into half 1 and 40 into half 2")


def test_what_is_no_run_is_refused(finished):
    finished.cryosphere("validate", finished / "data", "--outdir", finished / "new").refuses("not a run")


def test_no_epoch_at_all_is_refused(finished):
    again(finished, outdir="new", epochs=0).refuses("--epochs is 0")


def test_a_file_is_no_folder(finished):
    again(finished, outdir="protein.cif").refuses("protein.cif is a file")
