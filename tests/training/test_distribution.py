"""Several processes do together what one does: the same steps, the same latents, one set of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cryosphere.distribution import ALONE, World, join
from cryosphere.errors import ConfigError, FailedElsewhereError, ProcessLostError
from cryosphere.launch import is_first_of_job
from cryosphere.training.moving_parts import MovingParts
from cryosphere.training.run_directory import RunDirectory
from cryosphere.training.run_lock import training_alone
from cryosphere.training.step import Stepper
from cryosphere.training.train import train
from cryosphere.training.trained import TrainedModel
from cryosphere.training.trainer import Trainer

from .conftest import read_metrics

WHOLE = ("whole", "free", "restrained", "occupied", "auto")  # runs that end
SCRIPT = Path(__file__).with_name("several_processes.py")
TIMES = {"seconds", "epoch_seconds", "images_per_second"}


def start(job: str, folder: Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """A job of several processes on this machine, one thread each."""
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*launcher, str(SCRIPT), job, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=250,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def close(found: list[dict[str, str]], expected: list[dict[str, str]]) -> None:
    """Tables of metrics that differ by no more than the order of summation explains, after some ten steps."""
    assert [row["epoch"] for row in found] == [row["epoch"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - TIMES:
            if other[name] == "":
                assert row[name] == ""
            else:
                assert float(row[name]) == pytest.approx(float(other[name]), rel=2e-3, abs=2e-3), name


@pytest.fixture(scope="module")
def changes() -> dict[str, list[str]]:
    """Runs by name: 38 images to train on, in a batch of 37, which two processes cannot halve, and one of one image."""
    few = ["training.validation_fraction=0.6", "training.batch_size=37"]
    return {
        "whole": [*few, "training.average=0.9", "loss.kl_latent=0.01"],
        "stopped": [*few, "training.average=0.9", "loss.kl_latent=0.01"],
        "free": ["encoder.kind=free", "training.batch_size=32"],
        "full": ["encoder.kind=free", "training.batch_size=96"],
        "auto": [*few, "segmentation.count=auto", "loss.kl_latent=0.01"],
        "restrained": [*few, "encoder.kind=mlp", "loss.clash=1", "loss.clash_distance=8", "loss.elastic=1"],
        "occupied": [*few, "encoder.kind=mlp", "occupancy.kind=latent", "occupancy.absence=100"],
    }


@pytest.fixture(scope="module")
def configs(changes, hinge_data):
    from .conftest import SMALL, configure

    options = {"segments": 3, "device": "cpu", "particles": [hinge_data.particles], "model": hinge_data.model}
    epochs = {"whole": 5, "stopped": 5, "free": 1, "full": 1, "auto": 5, "restrained": 1, "occupied": 1}
    return {
        name: configure(overrides=[*SMALL, *overrides], epochs=epochs[name], **options)
        for name, overrides in changes.items()
    }


@pytest.fixture(scope="module")
def pair(configs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left: runs in two/, and what each of them saw."""
    folder = tmp_path_factory.mktemp("pair")
    for name, config in configs.items():
        (folder / f"{name}.json").write_text(config.model_dump_json())
    done = start("together", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def single(configs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same runs by one process, with the parameters after the first step."""
    folder = tmp_path_factory.mktemp("single")
    step, find_gradient = Trainer._step, Stepper.find_gradient
    gradient = {}

    def keeping(self: Trainer, batch) -> None:
        step(self, batch)
        if self.state.step == 1:
            parameters = {name: p.detach().numpy() for name, p in self.raw_model.named_parameters()}
            np.savez(folder / f"step1-{self.run.root.name}.npz", **parameters)
            np.savez(folder / f"gradient1-{self.run.root.name}.npz", **gradient)

    def keeping_gradient(self: Stepper, batch, weights, number):
        losses = find_gradient(self, batch, weights, number)
        if number == 0:
            gradient.clear()
            gradient.update({name: p.grad.numpy(force=True).copy() for name, p in self.raw_model.named_parameters()})
        return losses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", keeping)
        patch.setattr(Stepper, "find_gradient", keeping_gradient)
        for name in WHOLE:
            assert train(configs[name], folder / name) == "finished"
    return folder


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_pieces_are_all_things_once_in_order(count: int, size: int) -> None:
    pieces = [np.arange(count)[World(rank, size).piece(count)] for rank in range(size)]
    expected = np.array_split(np.arange(count), size)
    assert all(np.array_equal(piece, other) for piece, other in zip(pieces, expected, strict=True))


def test_a_process_alone_talks_to_nobody() -> None:
    assert join() is ALONE
    array, tensor = np.arange(3), torch.ones(2)
    assert ALONE.gather(array) is array
    assert ALONE.sum(tensor) is tensor
    assert ALONE.agree(on=True)
    assert not ALONE.agree(on=False)
    assert ALONE.from_first(array) is array
    ALONE.copy_from_first([tensor])
    with pytest.raises(OSError, match="told"), ALONE.together(), ALONE.first_ahead():
        raise OSError("told as it is")
    assert not torch.distributed.is_initialized()


def test_an_environment_that_says_half_of_what_is_needed_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is 4, but LOCAL_RANK.*torchrun"):
        join()


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        ({"RANK": "1"}, True),  # left over from something else: `join` works alone, so this process is the first
        ({"RANK": "1", "WORLD_SIZE": "1"}, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, False),
    ],
)
def test_whoever_works_alone_holds_the_lock_and_talks(environment, is_first: bool, monkeypatch, tmp_path) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_of_job() is is_first
    with training_alone(RunDirectory(tmp_path / "run")):
        assert (tmp_path / "run" / ".lock").exists() is is_first


def test_one_process_on_every_machine_tells_that_another_died() -> None:
    """On eight devices of two machines; and the second of all, in case it was the first that died."""
    told = []
    for rank in range(8):
        world = World(rank, 8, rank % 4, 4)
        with pytest.raises((ProcessLostError, FailedElsewhereError)) as caught, world.talking():
            raise RuntimeError("Connection closed by peer")
        told.append(caught.type is ProcessLostError)
    assert told == [True, True, False, False, True, False, False, False]


def test_what_failed_here_is_told_even_if_another_process_died(monkeypatch) -> None:
    def nobody_answers(self: World, number: int) -> list[int]:
        raise ProcessLostError("another one died")

    monkeypatch.setattr(World, "_exchange", nobody_answers)
    with pytest.raises(OSError, match="no space") as caught, World(1, 2).together():
        raise OSError("no space")
    assert isinstance(caught.value.__cause__, ProcessLostError)
    with pytest.raises(ProcessLostError), World(1, 2).together():
        pass


def test_pieces_come_together_in_order_on_every_process(pair: Path) -> None:
    seen = [json.loads((pair / f"talk-{rank}.json").read_text())[0] for rank in (0, 1)]
    assert seen[0] == seen[1]
    assert seen[0]["gathered"] == [[], [0], [0, 1, 2, 3, 4, 5, 6]]
    assert seen[0]["gathered in two dimensions"] == [[2.5, 2.5, 2.5]]  # nothing of the first
    assert seen[0]["sum"] == [2.0, 1.0]
    assert seen[0]["agreed"] == [True, False]
    assert seen[0]["from the first"] == [[0.5, 0.5], [0.5, 0.5]]
    assert seen[0]["copied"] == [0, 0, 0, True]


def test_what_fails_on_one_process_fails_on_all_and_is_told_by_one(pair: Path) -> None:
    first, second = (json.loads((pair / f"talk-{rank}.json").read_text())[1] for rank in (0, 1))
    elsewhere = "FailedElsewhereError: another process of this job failed, and says why"
    assert (first["fails on 1"], second["fails on 1"]) == (elsewhere, "OSError: process 1 cannot")
    assert first["fails on none"] == second["fails on none"] == "None"
    assert first["goes ahead"] == second["goes ahead"] == "'made'"
    assert (first["fails ahead"], second["fails ahead"]) == ("OSError: the first cannot", elsewhere)


@pytest.mark.parametrize("name", WHOLE)
def test_after_a_step_all_processes_hold_the_parameters_of_a_single_one(name: str, pair: Path, single: Path) -> None:
    first, second = (np.load(pair / f"step1-{name}-{rank}.npz") for rank in (0, 1))
    alone = np.load(single / f"step1-{name}.npz")
    assert set(first) == set(second) == set(alone)
    for parameter in alone:
        assert np.array_equal(first[parameter], second[parameter]), parameter
        assert np.abs(first[parameter] - alone[parameter]).max() < 1e-6, parameter


@pytest.mark.parametrize("name", WHOLE)
def test_the_gradient_of_all_processes_is_that_of_a_single_one(name: str, pair: Path, single: Path) -> None:
    """Before it is clipped; Adam's first step would be the same with a gradient twice as large.

    Shares of images cancel in some sums, which leaves up to 3e-5 of a gradient's norm to rounding in float32.
    """
    first, second = (np.load(pair / f"gradient1-{name}-{rank}.npz") for rank in (0, 1))
    alone = np.load(single / f"gradient1-{name}.npz")
    assert set(first) == set(second) == set(alone)
    for parameter in alone:
        assert np.array_equal(first[parameter], second[parameter]), parameter
        norm = np.linalg.norm(alone[parameter])
        assert np.linalg.norm(first[parameter] - alone[parameter]) <= 1e-4 * norm, parameter


def test_a_checkpoint_that_the_disk_has_no_room_for_ends_all_processes(pair: Path) -> None:
    found = [json.loads((pair / f"outcomes-{rank}.txt").read_text())["full"] for rank in (0, 1)]
    assert found[0] == "DiskFullError: no room"
    assert found[1].startswith("FailedElsewhereError")


@pytest.mark.parametrize("name", WHOLE)
def test_whole_runs_are_those_of_a_single_process(name: str, pair: Path, single: Path) -> None:
    """Through joined segments, averaged weights and a last batch of one image."""
    rows = read_metrics(pair / "two" / name)
    close(rows, read_metrics(single / name))
    assert int(rows[0]["images_seen"]) == (96 if name == "free" else 38)
    if name == "whole":
        assert int(rows[-1]["segments"]) < int(rows[0]["segments"])  # or joining was not asked


def test_the_number_of_segments_is_that_of_a_single_process(pair: Path, single: Path) -> None:
    rows = read_metrics(pair / "two" / "auto")
    close(rows, read_metrics(single / "auto"))
    assert int(rows[-1]["segments"]) < int(rows[0]["segments"])
    found, expected = (MovingParts.load(f / "auto" / "moving_parts.json") for f in (pair / "two", single))
    assert found.parts == expected.parts
    assert found.gain == pytest.approx(expected.gain, rel=2e-3, abs=2e-3)


def test_latents_are_in_order_whoever_encodes_them(pair: Path) -> None:
    alone = TrainedModel.load(pair / "two" / "whole")
    expected, some = alone.encode(), alone.encode(np.array([70, 3, 41]))
    for rank in (0, 1):
        found = np.load(pair / f"latents-{rank}.npz")
        assert np.allclose(found["mean"], expected.mean, atol=1e-6)
        assert np.allclose(found["sd"], expected.sd, atol=1e-6)
        assert np.allclose(found["some"], some.mean, atol=1e-6)
        assert found["none"].shape == (0, 2)


def test_a_job_is_a_job_again_after_one_process_has_worked_alone(single: Path) -> None:
    model, world = TrainedModel.load(single / "whole"), World(1, 2)
    model.world = world
    with pytest.raises(OSError, match="at work"), model.working_alone():
        assert model.loader.world is ALONE
        assert model.world is ALONE
        raise OSError("failed at work")
    assert model.world is world
    assert model.loader.world is world


def test_images_are_prepared_once_by_all_processes_together(pair: Path, single: Path) -> None:
    counts = [json.loads((pair / f"written-{rank}.txt").read_text())["spectra"] for rank in (0, 1)]
    assert counts == [50, 46]  # ten batches of ten images at most
    [made], [expected] = (list((root / "cryosphere-cache").glob("spectra-*")) for root in (pair / "two", single))
    assert made.name == expected.name
    assert np.allclose(np.load(made), np.load(expected), atol=1e-3)  # a unit in the last place of float16
    assert not list((pair / "two" / "cryosphere-cache").glob(".*")), "unfinished files and locks"


def test_only_the_first_process_writes_a_run(pair: Path, single: Path) -> None:
    roots = (pair / "two/whole", single / "whole")
    names = [sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) for root in roots]
    of_two, of_one = ([name for name in some if not name.startswith("tensorboard/")] for some in names)
    assert of_two == of_one
    assert len(list((pair / "two/whole/tensorboard").iterdir())) == 1


def test_a_signal_to_one_process_stops_all_and_one_goes_on(pair: Path, single: Path, configs) -> None:
    for rank in (0, 1):
        assert json.loads((pair / f"outcomes-{rank}.txt").read_text())["stopped"] == "'stopped'"
    run = pair / "two" / "stopped"
    assert len(read_metrics(run)) < 5
    assert train(configs["stopped"], run, existing="resume") == "finished"
    close(read_metrics(run), read_metrics(single / "whole"))


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_which_one_process_goes_on_with(tmp_path, single, configs, hinge_data) -> None:
    (tmp_path / "settings.yaml").write_text(configs["whole"].model_dump_json())
    (tmp_path / "arguments.json").write_text(json.dumps(["train", "settings.yaml", "--outdir", "killed"]))
    done = start("killed", tmp_path)
    assert done.returncode != 0
    assert "another of the 2 processes of this job died" in done.stderr
    assert "go on with --resume, on any number of processes" in done.stderr
    assert len(read_metrics(tmp_path / "killed")) == 2  # killed after the first step of the third epoch
    assert train(configs["whole"], tmp_path / "killed", existing="resume") == "finished"
    close(read_metrics(tmp_path / "killed"), read_metrics(single / "whole"))


@pytest.mark.slow
def test_wrong_input_is_told_once_with_one_exit_code(tmp_path, hinge_data) -> None:
    inputs = ["--particles", str(hinge_data.particles), "--model", "nowhere.cif", "--outdir", "run"]
    commands = [["train", *inputs], ["train", "--epochz", "3"], ["simulate", "a.yaml", "--outdir", "b"]]
    commands += [["analyze", "c"]]
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    done = start("commands", tmp_path)
    assert [json.loads((tmp_path / f"codes-{rank}.json").read_text()) for rank in (0, 1)] == [[2] * 4] * 2
    said = [line for line in done.stderr.splitlines() if line.startswith("cryosphere: ")]
    assert len(said) == 4, done.stderr
    for word, line in zip(("nowhere.cif", "--epochz", "without torchrun", "c does not exist"), said, strict=True):
        assert word in line
    assert not (tmp_path / "run").exists()
