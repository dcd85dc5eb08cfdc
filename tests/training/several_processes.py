"""What the processes of a job do in the tests: `torchrun … several_processes.py JOB FOLDER`, run in FOLDER."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cryosphere.cli.main import run
from cryosphere.distribution import World, join
from cryosphere.errors import CryosphereError, DiskFullError
from cryosphere.particles import cache, checked_array
from cryosphere.training import checkpoints
from cryosphere.training.config import Config
from cryosphere.training.step import Stepper
from cryosphere.training.train import train
from cryosphere.training.trained import TrainedModel
from cryosphere.training.trainer import Trainer


def after_steps(then: Callable[[Trainer], None]) -> None:
    """Let every step of every training end with this."""
    step = Trainer._step

    def longer(self: Trainer, batch: Any) -> None:
        step(self, batch)
        then(self)

    Trainer._step = longer


def keep_parameters(folder: Path) -> None:
    """Write a run's first gradient, and its parameters after the first step, process by process."""
    gradient: dict[str, Any] = {}
    find_gradient = Stepper.find_gradient

    def keep_gradient(self: Stepper, batch: Any, weights: Any, number: int) -> Any:
        losses = find_gradient(self, batch, weights, number)
        if number == 0:
            gradient.update({name: p.grad.numpy(force=True).copy() for name, p in self.raw_model.named_parameters()})
        return losses

    def keep(trainer: Trainer) -> None:
        if trainer.state.step == 1:
            whose = f"{trainer.run.root.name}-{trainer.world.rank}.npz"
            parameters = {name: p.detach().numpy() for name, p in trainer.raw_model.named_parameters()}
            np.savez(folder / f"step1-{whose}", **parameters)
            np.savez(folder / f"gradient1-{whose}", **gradient)
            gradient.clear()

    Stepper.find_gradient = keep_gradient
    after_steps(keep)


def no_room_for(name: str) -> None:
    """Let the disk be full when a checkpoint of the run of that name is written."""
    save = checkpoints.save

    def saving(path: Path, *what: Any) -> None:
        if name in path.parts:
            raise DiskFullError("no room")
        save(path, *what)

    checkpoints.save = saving


def stop_in(name: str, rank: int, at_step: int, number: signal.Signals) -> None:
    """Send a process a signal in the middle of the run of that name."""

    def stop(trainer: Trainer) -> None:
        if (trainer.run.root.name, trainer.world.rank, trainer.state.step) == (name, rank, at_step):
            os.kill(os.getpid(), number)

    after_steps(stop)


def prepare_by_tens() -> Counter[str]:
    """Prepare images ten at a time, so that there is something to share; rows that this process writes, by file."""
    cache._PIXELS_PER_BATCH = 10 * 32**2
    written: Counter[str] = Counter()
    write = checked_array._Builder.write

    def counting(self: checked_array._Builder, rows: Any, values: Any) -> None:
        written[self.array.path.name.partition("-")[0]] += len(rows)
        write(self, rows, values)

    checked_array._Builder.write = counting
    return written


def outcome_of(block: Callable[[], Any]) -> str:
    try:
        return repr(block())
    except (CryosphereError, OSError) as error:
        return f"{type(error).__name__}: {error}"


def talk(world: World, folder: Path) -> None:
    """Every way to talk to the others once."""
    rows = [np.arange(n)[world.piece(n)] for n in (0, 1, 7)]
    together = {
        "gathered": [world.gather(own).tolist() for own in rows],
        "gathered in two dimensions": world.gather(np.full((world.rank, 3), 2.5, np.float16)).tolist(),
        "sum": world.sum(torch.tensor([1.0, world.rank])).tolist(),
        "agreed": [world.agree(on=world.rank == 1), world.agree(on=False)],
        "from the first": world.from_first(np.full((2 + world.rank, 2), 0.5 + world.rank)).tolist(),
    }
    copied = torch.full((3,), world.rank, dtype=torch.int64)
    world.copy_from_first([copied, flags := torch.tensor([world.is_first])])
    together["copied"] = [*copied.tolist(), *flags.tolist()]

    def fails_on(rank: int) -> None:
        with world.together():
            if world.rank == rank:
                raise OSError(f"process {rank} cannot")

    def goes_ahead(name: str, *, fails: bool = False) -> str:
        with world.first_ahead():
            if world.is_first:
                (folder / name).write_text("made")
            if fails and world.is_first:
                raise OSError("the first cannot")
            return (folder / name).read_text()

    apart = {
        "fails on 1": outcome_of(lambda: fails_on(1)),
        "fails on none": outcome_of(lambda: fails_on(9)),
        "goes ahead": outcome_of(lambda: goes_ahead("made")),
        "fails ahead": outcome_of(lambda: goes_ahead("unmade", fails=True)),
    }
    (folder / f"talk-{world.rank}.json").write_text(json.dumps([together, apart]))


def together(folder: Path) -> None:
    """Talk; train what the folder's settings say; be stopped in one run; read a run back."""
    world = join()
    talk(world, folder)
    written = prepare_by_tens()
    keep_parameters(folder)
    no_room_for("full")
    stop_in("stopped", 1, 8, signal.SIGTERM)
    outcomes = {}
    for path in sorted(folder.glob("*.json")):
        if not path.stem.startswith("talk"):
            config = Config.model_validate_json(path.read_text())
            outcomes[path.stem] = outcome_of(partial(train, config, folder / "two" / path.stem))
    model = TrainedModel.load(folder / "two" / "whole")
    everything, some = model.encode(), model.encode(np.array([70, 3, 41]))
    none = model.encode(np.zeros(0, dtype=np.int64))
    found = {"mean": everything.mean, "sd": everything.sd, "some": some.mean, "none": none.mean}
    np.savez(folder / f"latents-{world.rank}.npz", **found)
    (folder / f"outcomes-{world.rank}.txt").write_text(json.dumps(outcomes))
    (folder / f"written-{world.rank}.txt").write_text(json.dumps(written))


def killed(folder: Path) -> None:
    """The command line, with the second process killed in the middle of the third epoch."""
    stop_in("killed", 1, 5, signal.SIGKILL)
    sys.exit(run(json.loads((folder / "arguments.json").read_text())))


def commands(folder: Path) -> None:
    """Commands one after the other; their exit codes, process by process."""
    codes = [run(arguments) for arguments in json.loads((folder / "commands.json").read_text())]
    (folder / f"codes-{os.environ['RANK']}.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    {"together": together, "killed": killed, "commands": commands}[sys.argv[1]](Path(sys.argv[2]))
