"""Runs that are occupied, missing, damaged or do not belong: exit code 2, one message, nothing left, nothing lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model
from cryosphere.training.checkpoints import load


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").iterdir())


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


# training where a run lies already


def test_an_occupied_folder_is_refused_and_kept(project):
    before = contents(project.run)
    project.train().refuses(project.run, "already holds a run", "--resume", "--overwrite", "--outdir")
    assert contents(project.run) == before


def test_overwriting_starts_anew_and_forgets_what_belonged_to_the_old_run(project):
    (project.run / "evaluation.json").write_text("{}")
    (project.run / "notes.txt").write_text("the user's own")
    project.train("-q", "--overwrite", epochs=1).succeeds()
    assert len(checkpoints(project.run)) == 1
    assert not (project.run / "evaluation.json").exists()
    assert (project.run / "notes.txt").read_text() == "the user's own"


def test_the_old_run_stays_when_the_new_one_cannot_begin(project):
    def spoil(images: Any) -> None:
        images[41] = 0

    project.edit_stack(spoil)
    before = contents(project.run)
    project.train("--overwrite", "--set", "images.contrast=white").refuses("image 42", "constant")
    assert contents(project.run) == before


# resuming


def test_resuming_where_there_is_no_run(place):
    place.train("--resume").refuses(place.run, "no run")
    place.cryosphere("train", "--outdir", place.run, "--resume").refuses(place.run, "no run")


def test_resuming_and_overwriting_at_once(project):
    project.train("--resume", "--overwrite").refuses("--resume", "--overwrite")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--box", 16], ["images.box: 32 → 16"]),
        (["--epochs", 9], ["training.epochs: 3 → 9"]),
        (["--set", "encoder.latent_dim=4"], ["encoder.latent_dim: 8 → 4"]),
        (["--set", "encoder.latent_dmi=4"], ["did you mean encoder.latent_dim"]),
    ],
)
def test_resuming_with_other_settings_names_the_key(project, options, words):
    project.cryosphere("train", "--outdir", project.run, "--resume", *options).refuses(*words)


@pytest.mark.parametrize("column", ["rlnDefocusU", "rlnVoltage", "rlnAngleRot"])
def test_resuming_with_other_particles(project, column):
    def change(tables: dict[str, Any]) -> None:
        table = tables["particles"] if column in tables["particles"] else tables["optics"]
        table[column] += 10.0

    project.edit_star(change)
    found = project.cryosphere("train", "--outdir", project.run, "--resume")
    found.refuses(project / "particles.star", project.run, "changed")


def test_resuming_with_another_model(project):
    write_model(project / "model.cif", read_model(project / "model.cif").translated([1.0, 0.0, 0.0]))
    found = project.cryosphere("train", "--outdir", project.run, "--resume")
    found.refuses(project / "model.cif", project.run, "changed")


def test_resuming_a_finished_run_changes_nothing_it_learned(project):
    before = checkpoints(project.run)[-1].read_bytes()
    project.cryosphere("-q", "train", "--outdir", project.run, "--resume").succeeds()
    assert checkpoints(project.run)[-1].read_bytes() == before


# damaged checkpoints


def test_a_damaged_checkpoint_gives_way_to_the_one_before(project):
    one, two, three = checkpoints(project.run)
    flip_a_byte(three)
    found = project.cryosphere("-q", "train", "--outdir", project.run, "--resume")
    found.succeeds()
    assert f"{three} is damaged" in found.said
    assert f"falling back to {two.name}" in found.said
    assert checkpoints(project.run) == [one, two, three]
    assert load(three).facts["state"]["epoch"] == 3  # trained and written anew


@pytest.mark.parametrize("command", ["train --resume --outdir", "analyze", "structures --output s"])
def test_a_run_whose_checkpoints_are_all_damaged(project, monkeypatch, command):
    monkeypatch.chdir(project.folder)
    for path in checkpoints(project.run):
        path.write_bytes(path.read_bytes()[:100])
    name, *options = command.split()
    found = project.cryosphere(name, *options, project.run)
    found.refuses("all 3 checkpoints", project.run / "checkpoints")
    assert not (project / "s").exists()


def test_a_run_without_a_checkpoint_yet(project):
    for path in checkpoints(project.run):
        path.unlink()
    project.cryosphere("analyze", project.run).refuses(project.run, "no checkpoint")
    assert not (project.run / "analysis").exists()


# reading what is no run


@pytest.mark.parametrize(
    ("name", "word"), [("nothing", "does not exist"), (".", "not a run"), ("model.cif", "is a file")]
)
@pytest.mark.parametrize(
    "command", [["analyze"], ["structures", "--output", "s"], ["evaluate", "--truth", "truth.npz"]]
)
def test_what_is_no_run(place, monkeypatch, command, name, word):
    monkeypatch.chdir(place.folder)
    place.cryosphere(*command, place / name).refuses(place / name, word)


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "model.cif", "particles.star"])
@pytest.mark.parametrize("content", [None, "", "{", "\0"])
def test_a_run_with_a_damaged_file(project, name, content):
    path = project.run / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    project.cryosphere("analyze", project.run).refuses(name)


def remove_a_residue(structure: gemmi.Structure) -> None:
    del structure[0][0][0]


def rename_residues(structure: gemmi.Structure) -> None:
    for residue in structure[0][0]:
        residue.name = "GLY" if residue.name != "GLY" else "ALA"


@pytest.mark.parametrize("change", [remove_a_residue, rename_residues])
@pytest.mark.parametrize("command", ["analyze", "volumes", "validate"])
def test_a_run_whose_model_holds_other_residues_by_now(project, command, change):
    path = project.run / "model.cif"
    structure = gemmi.read_structure(str(path))
    change(structure)
    structure.make_mmcif_document().write_file(str(path))
    options = [] if command == "analyze" else ["--outdir", project / "out"]
    project.cryosphere(command, project.run, *options).refuses(path, "other residues")
    assert not (project / "out").exists()


# structures


@pytest.mark.parametrize("indices", ["60", "60:70", "5:3", "0:10:0", "a", "1.5", "0,,3", ""])
def test_wrong_indices(project, indices):
    found = project.cryosphere("structures", project.run, "--output", project / "s", f"--indices={indices}")
    found.refuses("indices", repr(indices))


@pytest.mark.parametrize(
    ("latents", "word"),
    [
        (np.zeros((3, 5)), "3 × 5"),
        (np.zeros(8), "(n, 8)"),
        (np.zeros((0, 8)), "0 × 8"),
        (np.full((2, 8), np.nan), "not finite"),
        (np.array([["a"] * 8]), "real numbers"),
    ],
)
def test_latents_that_do_not_fit(project, latents, word):
    np.save(project / "z.npy", latents)
    found = project.cryosphere("structures", project.run, "--output", project / "s", "--z", project / "z.npy")
    found.refuses(project / "z.npy", word)


@pytest.mark.parametrize("output", ["model.cif", "model.cif/inside", "model.cif/inside.npz", "new.pdb"])
def test_an_output_for_structures_that_cannot_be(project, output):
    found = project.cryosphere("structures", project.run, "--output", project / output, "--indices", "0:2")
    found.refuses(project / output.removesuffix("/inside.npz"))


def test_structures_that_are_there_already_are_replaced_only_when_told(project):
    for output, there in ((project / "s", "1 structure(s)"), (project / "s.npz", "exists already")):
        command = ["structures", project.run, "--output", output, "--indices"]
        project.cryosphere(*command, "3").succeeds()
        project.cryosphere(*command, "5").refuses(output, there, "--overwrite")
        project.cryosphere(*command, "5", "--overwrite").succeeds()
    assert [file.name for file in (project / "s").iterdir()] == ["structure_000005.cif"]


# evaluate


def with_truth(project: Any, **changes: Any) -> Path:
    """truth.npz with some of its arrays changed."""
    truth = dict(np.load(project / "truth.npz"))
    path = project / "changed.npz"
    np.savez(path, **{name: changes[name](value) if name in changes else value for name, value in truth.items()})
    return path


FEWER = {name: lambda x: x[:30] for name in ("conformation_index", "rotations", "shifts", "presence")}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (FEWER, "60 images"),
        ({"residue_number": lambda x: x + 10}, "different proteins"),
        ({"rotations": lambda x: x[::-1]}, "other images, or in another order"),
        ({"format_version": lambda x: x + 1}, "format version"),
    ],
)
def test_a_truth_that_does_not_belong_to_the_run(project, changes, word):
    truth = with_truth(project, **changes)
    project.cryosphere("evaluate", project.run, "--truth", truth).refuses(word)


@pytest.mark.parametrize("content", ["nothing", "text", "npy", "half"])
def test_a_truth_that_is_none(project, content):
    truth = project / "other.npz"
    if content == "text":
        truth.write_text("truth")
    elif content == "npy":
        with truth.open("wb") as file:
            np.save(file, np.zeros(3))
    elif content == "half":
        truth.write_bytes((project / "truth.npz").read_bytes()[:5000])
    project.cryosphere("evaluate", project.run, "--truth", truth).refuses(truth)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--oracle-images=-1"], "-1"),
        (["--domain", "LID"], "'LID'"),
        (["--domain", "LID=A:900-910", "--domain", "CORE=rest"], "A:900-910"),
    ],
)
def test_wrong_options_of_evaluate(project, options, word):
    project.cryosphere("evaluate", project.run, "--truth", project / "truth.npz", *options).refuses(word)


# project and simulate


@pytest.mark.parametrize(
    ("output", "options", "word"),
    [
        ("model.cif", [], "exists already"),
        ("model.cif/p.mrcs", [], "cannot write"),
        (".", ["--overwrite"], "folder"),
        ("p.mrcs", ["--box", "0"], "box"),
        ("p.mrcs", ["--box", "3"], "outside the box"),
        ("p.mrcs", ["--pixel-size=nan"], "pixel size"),
    ],
)
def test_a_projection_that_cannot_be_made(place, output, options, word):
    inputs = ["--model", place / "model.cif", "--particles", place / "particles.star", "--output", place / output]
    place.cryosphere("-q", "project", *inputs, *options).refuses(word)


@pytest.mark.parametrize(
    ("change", "outdir", "word"),
    [
        (("snr: 0.5", "snr: .inf"), "new", "images.snr"),
        (("kind: hinge", "kind: hing"), "new", "'hinge', 'trajectory'"),
        (("", ""), "model.cif", "cannot write"),
        (("", ""), ".", "already holds"),
    ],
)
def test_a_simulation_that_cannot_be_made(place, change, outdir, word):
    path = place / "simulation.yaml"
    path.write_text(path.read_text().replace(*change))
    place.cryosphere("-q", "simulate", path, "--outdir", place / outdir).refuses(word)


# caches are nothing but caches


@pytest.mark.parametrize("kind", ["spectra", "lifted"])
@pytest.mark.parametrize("size", [0, 200, 20_000])
def test_a_damaged_cache_is_made_again(project, kind, size):
    [path] = (project / "runs" / "cryosphere-cache").glob(f"{kind}-*.npy")
    sound = path.read_bytes()
    path.write_bytes(sound[:size])
    found = project.cryosphere("-q", "structures", project.run, "--output", project / "s.npz", "--indices", "0:3")
    found.succeeds()
    assert f"{path}: is damaged and is made again" in found.said
    again = np.load(path)
    path.write_bytes(sound)
    # particles.star and model.cif may have lost the last bit of a number; the values are stored as float16
    np.testing.assert_allclose(again.astype(np.float64), np.load(path), rtol=2e-3, atol=2e-3)
