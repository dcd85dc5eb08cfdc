"""The command `volumes`: what it leaves, and what it refuses."""

from __future__ import annotations

import shutil

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile

from cryosphere.analysis.run import Run
from cryosphere.files import replacing
from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model
from cryosphere.training.configure import configure
from cryosphere.training.train import train
from cryosphere.volumes import bias, writing
from cryosphere.volumes.targets import TargetSettings, chosen_targets

IMAGES = 300


@pytest.fixture(scope="module")
def enough(tmp_path_factory):
    """A project with a run on 300 images, which is enough for kernel volumes; only to be read."""
    folder = tmp_path_factory.mktemp("enough") / "project"
    folder.mkdir()
    protein = two_domain_protein(0, (60, 40))
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(50.0, 20),
        images=ImageSettings(count=IMAGES, box=32, pixel_size=5.0, snr=0.5, shift=5.0),
    )
    simulate(config, folder / "data")
    data = folder / "data"
    settings = configure(particles=data / "particles.star", model=data / "model.cif", epochs=2, segments=2)
    train(settings, folder / "run")
    return folder


@pytest.fixture
def no_page(monkeypatch):
    """The comparison with the model takes most of the time of volumes as small as these."""
    monkeypatch.setattr(bias, "write_bias_page", lambda run, states, folder, method: None)


def volumes(place, run, *extra, out="volumes"):
    return place.cryosphere("volumes", run, "--outdir", place / out, *extra)


def latents_at(place, run, rows):
    z = Run(run, device="cpu").latents_of(rows)
    np.save(place / "some.npy", z)
    return z


def test_maps_structures_tables_and_the_page_are_left_in_the_order_of_the_latents(place, enough):
    done = volumes(place, enough / "run", "--points", 2, "--clusters", 1)
    done.succeeds()
    for words in ("150 and 150 images, drawn with seed 0", "comparing bandwidths", "volume 2: ", "bias.html"):
        assert words in done.said
    out = place / "volumes"
    z = np.load(out / "z.npy")
    assert z.shape == (3, 8)
    table = pd.read_csv(out / "volumes.csv")
    assert table["volume"].tolist() == [0, 1, 2]
    assert (table["images_within_bandwidth"] >= 100).all()
    assert (table["effective_images"] <= table["images_within_bandwidth"]).all()
    run = Run(enough / "run", device="cpu")
    for number in range(3):
        with mrcfile.open(out / f"volume_{number:03d}.mrc") as file:
            assert file.data.shape == (32, 32, 32)
            assert file.voxel_size.x == pytest.approx(5.0)
            assert file.header.origin.item() == (-80.0, -80.0, -80.0)  # where the structure stands
            whole = np.array(file.data)
        halves = [mrcfile.read(out / f"volume_{number:03d}_half{k}.mrc") for k in (1, 2)]
        assert np.corrcoef(whole.ravel(), (halves[0] + halves[1]).ravel())[0, 1] > 0.7
        structure = read_model(out / "structures" / f"structure_{number:03d}.cif")
        assert np.allclose(structure.positions, run.model.atom_positions(z[number : number + 1])[0], atol=2e-3)
        voxels = np.round(structure.beads.positions / 5 + 16).astype(int)
        at_residues = whole[voxels[:, 2], voxels[:, 1], voxels[:, 0]]
        assert at_residues.mean() > whole.mean() + 1.5 * whole.std()  # map and structure lie over each other
    curves = pd.read_csv(out / "fsc.csv")
    assert curves.groupby("volume")["shell"].max().tolist() == [15, 15, 15]
    widths = pd.read_csv(out / "bandwidths.csv")
    assert (widths["bandwidth_angstrom"] > 0).all()
    support = pd.read_csv(out / "support.csv")
    assert len(support) == 100
    assert support["support"].between(0, 1).all()
    assert "<html" in (out / "bias.html").read_text()


def test_given_latents_are_taken_in_their_order(place, enough, no_page):
    z = latents_at(place, enough / "run", [7, 3])
    volumes(place, enough / "run", "--z", place / "some.npy", "--bandwidth", 50, "--box", 24).succeeds()
    assert np.allclose(np.load(place / "volumes" / "z.npy"), z)
    table = pd.read_csv(place / "volumes" / "volumes.csv")
    assert table["bandwidth_angstrom"].tolist() == [50.0, 50.0]
    assert table["images_within_bandwidth"].tolist() == [IMAGES, IMAGES]
    assert mrcfile.read(place / "volumes" / "volume_001.mrc").shape == (24, 24, 24)


def test_volumes_that_are_there_are_kept_unless_they_may_be_replaced(place, enough, no_page):
    options = ("--bandwidth", 50, "--box", 24)
    volumes(place, enough / "run", "--points", 3, *options).succeeds()
    (place / "volumes" / "notes.txt").write_text("the user's own")
    volumes(place, enough / "run", *options).refuses("volumes", "already holds", "--overwrite")
    volumes(place, enough / "run", "--points", 2, "--overwrite", *options).succeeds()
    assert not (place / "volumes" / "volume_002.mrc").exists()
    assert len(pd.read_csv(place / "volumes" / "volumes.csv")) == 2
    assert (place / "volumes" / "notes.txt").read_text() == "the user's own"


def test_latents_of_another_run_are_refused(place, enough):
    run = enough / "run"
    np.save(place / "other.npy", np.zeros((2, 5), dtype=np.float32))
    volumes(place, run, "--z", place / "other.npy").refuses("other.npy", "(n, 8)", "2 × 5")
    far = np.concatenate([Run(run, device="cpu").latents_of([0]), np.full((1, 8), 40.0)]).astype(np.float32)
    np.save(place / "far.npy", far)
    volumes(place, run, "--z", place / "far.npy").refuses("far.npy", "row 1 lies", "1 of 2 rows", "another run")


def test_latents_of_another_run_with_as_many_dimensions_are_refused(place, enough, monkeypatch):
    """One uses the third direction, the other the sixth; each leaves the others at one value, but for a hundredth.

    So far did two runs on adenylate kinase differ. The middle of the motion is in both; its ends are not.
    """
    generator = np.random.default_rng(0)
    latents = 0.008 * generator.normal(size=(2, IMAGES, 8)).astype(np.float32)
    own, others = latents
    own[:, 2] += generator.normal(size=IMAGES)
    others[:, 5] += np.linspace(-2, 2, IMAGES)
    np.save(place / "others.npy", others[:: IMAGES // 5])
    monkeypatch.setattr(Run, "latents", property(lambda run: own))
    volumes(place, enough / "run", "--z", place / "others.npy").refuses(
        "others.npy", "row 0 lies", "standard deviations", "5 of 5 rows", "another run"
    )
    np.save(place / "own.npy", own[[int(own[:, 2].argmax()), 0]])  # the furthest of its own
    given = chosen_targets(Run(enough / "run", device="cpu"), TargetSettings(z=place / "own.npy"))
    assert len(given) == 2


def test_too_few_images_are_counted(project, place, enough):
    volumes(project, project.run).refuses("too few images", "30 of one half", "30 of the other", "50")
    latents_at(place, enough / "run", [7])
    volumes(place, enough / "run", "--z", place / "some.npy", "--bandwidth", 0.001).refuses(
        "volume 0", "within 0.001 Å", "of one half", "--bandwidth"
    )


def test_halves_of_very_different_size_are_refused(place, enough):
    """The run's own particles say which half an image is in."""
    copy = place / "copy"
    shutil.copytree(enough / "run", copy)
    tables = starfile.read(copy / "particles.star", always_dict=True)
    tables["particles"]["rlnRandomSubset"] = np.where(np.arange(IMAGES) < 40, 1, 2)
    starfile.write(tables, copy / "particles.star", overwrite=True)
    volumes(place, copy).refuses("very different size", "40 and 260", "rlnRandomSubset")


def test_stacks_that_are_gone_are_named(place, enough):
    stack = enough / "data" / "particles.mrcs"
    hidden = stack.with_name("hidden")
    stack.rename(hidden)
    try:
        volumes(place, enough / "run").refuses("particles.mrcs")
    finally:
        hidden.rename(stack)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "guess"], ["guess"]),
        (["--box", 64], ["box is 64", "32"]),
        (["--points", 0], ["points is 0"]),
        (["--points", 1], ["points is 1"]),
        (["--clusters", -1], ["clusters -1"]),
        (["--bandwidth", 0], ["bandwidth is 0"]),
        (["--diameter", 900], ["diameter is 900"]),
        (["--epochs", 3], ["--epochs", "decoder"]),
        (["--method", "decoder", "--bandwidth", 3], ["--bandwidth", "kernel"]),
        (["--method", "decoder", "--by-shell"], ["--by-shell", "kernel"]),
        (["--bandwidth", 3, "--by-shell"], ["--bandwidth", "--by-shell"]),
        (["--z", "nothing.npy"], ["nothing.npy"]),
        (["--device", "cuda"], ["CUDA"]),
    ],
)
def test_options_that_cannot_be_met_are_refused(place, enough, options, words):
    volumes(place, enough / "run", *options).refuses(*words)


def test_a_folder_that_is_no_run_and_a_file_in_the_way_are_refused(place, enough):
    volumes(place, place / "nowhere").refuses("nowhere")
    (place / "volumes").write_text("")
    volumes(place, enough / "run").refuses("volumes is a file")


def test_either_all_files_appear_or_none(place, enough, monkeypatch):
    """The disk is full when the last map is written; also where there were volumes before."""

    def full(path, *what):
        if "001_half2" in path.name:
            raise OSError(28, "No space left on device")
        with replacing(path) as temporary:
            temporary.write_bytes(b"map")

    monkeypatch.setattr(writing, "write_map", full)
    options = ("--points", 2, "--bandwidth", 50, "--box", 24)
    volumes(place, enough / "run", *options).refuses("disk or quota is full")
    (place / "volumes").mkdir()
    (place / "volumes" / "volumes.csv").write_text("old")
    volumes(place, enough / "run", "--overwrite", *options).refuses("disk or quota is full")
    assert (place / "volumes" / "volumes.csv").read_text() == "old"
