"""The moment in which a new run's first files take their places, and an earlier run's go: killed in its midst."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryosphere.training.configure import configure
from cryosphere.training.run_directory import RunDirectory
from cryosphere.training.run_lock import results_alone
from cryosphere.training.train import train

from .conftest import SMALL


class Killed(BaseException):
    """Stands for SIGKILL where nothing of the program runs any more: what it left is left."""


@pytest.fixture
def config(data: Path):
    inputs = {"particles": data / "particles.star", "model": data / "model.cif"}
    return configure(overrides=SMALL, epochs=1, segments=2, batch_size=64, device="cpu", **inputs)


def kill_at_change(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die instead of making the given change (renaming or deleting, from 1) to the first files of a run."""
    names = {"run.json", "config.yaml", "model.cif", "particles.star", "metrics.csv"}
    changes = []

    def counting(original):
        def change(path: Path, *arguments: object, **named: object):
            if path.name in names and path.parent in (folder, folder / ".begun"):
                changes.append(path)
                if len(changes) >= number:
                    raise Killed
            return original(path, *arguments, **named)

        return change

    monkeypatch.setattr(Path, "replace", counting(Path.replace))
    monkeypatch.setattr(Path, "unlink", counting(Path.unlink))


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_new_run(config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill_at_change(number, run, patched)
        train(config, run)
    assert (run / ".begun").is_dir()
    assert not (run / "run.json").exists()
    assert train(config, run) == "finished"  # neither --resume nor --overwrite is needed
    assert not list(run.glob(".*"))


@pytest.mark.parametrize("number", [1, 2, 5, 6, 8])
def test_a_run_that_replaces_another(config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    run = tmp_path / "run"
    train(config, run)
    (run / "notes.txt").write_text("the user's own")
    other = config.model_copy(update={"training": config.training.model_copy(update={"seed": 7})})
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill_at_change(number, run, patched)
        train(other, run, existing="overwrite")
    if number == 1:  # the earlier run is still whole
        assert train(config, run, existing="resume") == "finished"
    else:
        assert train(other, run) == "finished"
    assert RunDirectory(run).read_config().training.seed == (config if number == 1 else other).training.seed
    assert (run / "notes.txt").exists()
    assert not list(run.glob(".*"))


def test_what_a_killed_training_left_half_written_is_cleared_away(config, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    train(config, run.root)
    run.tensorboard.joinpath(".keep").write_text("not ours")
    run.evaluation.with_suffix("").mkdir()
    trainings = (".metrics.csv.1.part", ".second_look.npz.1.part", "checkpoints/.step_0000000009.safetensors.1.part")
    evaluations = {".evaluation.json.1.part", "evaluation/.figures.npz.1.part"}
    for name in (*trainings, *evaluations):
        (run.root / name).write_text("half")
    (run.root / ".new-abc").mkdir()
    (run.root / ".new-abc" / "model.cif").write_text("half")
    (run.root / ".lock").write_text("")
    train(config, run.root, existing="resume")
    hidden = {path.relative_to(run.root).as_posix() for path in run.root.rglob(".*")}
    assert hidden == {"tensorboard/.keep"} | evaluations
    with results_alone(run, "analysis"):
        assert {path.name for path in run.root.rglob(".*")} == {".keep", ".lock-results"}
