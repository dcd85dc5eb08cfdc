"""One step of training as the trainer takes it, alone or with a stopwatch at each of its stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from lightning_fabric import Fabric

from cryosphere.clock import now
from cryosphere.distribution import ALONE
from cryosphere.model.batch import Batch
from cryosphere.model.vae import HeterogeneityModel, Weights
from cryosphere.training.config import Config
from cryosphere.training.metrics import EpochAverages
from cryosphere.training.step import Stepper

_METHODS = {"inference": "encode", "structures": "decode + deform", "explain": "explain", "forward": "terms"}
"""Methods of the model, in the order in which a step leaves them, and the lap that ends with each."""

LAPS = (*_METHODS.values(), "backward", "optimiser")
_LOOK_EVERY, _AHEAD = 0.3, 10  # seconds, and steps at most, between looks at the clock while a GPU is timed


class Step:
    """Training's step, with what the trainer sums over an epoch; the weights change from step to step."""

    def __init__(self, model: HeterogeneityModel, config: Config, batch_size: int) -> None:
        self.model = model
        self.device = model.positions.device
        fabric = Fabric(accelerator=self.device.type, devices=1, precision="32-true")
        fabric.launch()
        self.stepper = Stepper(model, config, fabric, ALONE)
        self.averages = EpochAverages(batch_size, self.device)
        self.count = 0

    def take(self, batch: Batch) -> None:
        """Take the step."""
        losses, norm = self.stepper.take(batch, Weights(), self.count)
        self.averages.add(losses, norm, self.count, batch.share)
        self.count += 1

    def laps(self, batch: Batch) -> dict[str, float]:
        """Take the step, waiting for the device after each stage: milliseconds of the stages, which add up to it."""
        found = dict.fromkeys(LAPS, 0.0)
        last = [now(self.device)]

        def lap(stage: str) -> None:
            reached = now(self.device)
            found[stage] += 1e3 * (reached - last[0])
            last[0] = reached

        with _followed(self.model, _METHODS, lap), _followed(self.stepper, {"find_gradient": "backward"}, lap):
            self.take(batch)
            lap("optimiser")
        return found


@contextmanager
def _followed(something: object, methods: dict[str, str], lap: Callable[[str], None]) -> Iterator[None]:
    """The same object with a lap at the end of some of its methods."""

    def with_lap(method: Callable[..., object], stage: str) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            result = method(*arguments, **options)
            lap(stage)
            return result

        return call

    for method, stage in methods.items():
        setattr(something, method, with_lap(getattr(something, method), stage))
    try:
        yield
    finally:
        for method in methods:
            delattr(something, method)


def seconds_per_step(step: Step, batches: Iterable[Batch], least: int, seconds: float) -> list[float]:
    """How long steps take one after the other, after a first that does not count: `least` times or more.

    As many as fit in `seconds` or as there are batches; with a GPU averages over some steps, among which it runs ahead.
    """
    waiting, times = iter(batches), list[float]()
    step.take(next(waiting))
    together = _between_looks(step, waiting)
    began = last = now(step.device)
    while len(times) < least or last - began < seconds:
        taken = 0
        for batch in islice(waiting, together):
            step.take(batch)
            taken += 1
        if not taken:
            break
        reached = now(step.device)
        times.append((reached - last) / taken)
        last = reached
    return times


def _between_looks(step: Step, batches: Iterator[Batch]) -> int:
    """How many steps to take between two looks at the clock, each of which waits for the device."""
    if step.device.type == "cpu":
        return 1
    began = now(step.device)
    step.take(next(batches))
    return int(min(max(1.0, _LOOK_EVERY / (now(step.device) - began)), _AHEAD))
