"""One step of training as the trainer takes it, alone or with a stopwatch at each of its stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric

from cryosphere.distribution import ALONE
from cryosphere.model.batch import Batch
from cryosphere.model.vae import HeterogeneityModel, Weights
from cryosphere.training.config import Config
from cryosphere.training.metrics import EpochAverages
from cryosphere.training.step import Stepper

_METHODS = {"inference": "encode", "structures": "decode + deform", "explain": "explain", "forward": "terms"}
"""Methods of the model, in the order in which a step leaves them, and the lap that ends with each."""

LAPS = (*_METHODS.values(), "backward", "optimiser")
_ROUND = {"cpu": 1, "cuda": 10}  # steps between looks at the clock: each look waits for the device


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
    """How long steps take one after the other, after a first that does not count: at least `least`.

    As many as fit in `seconds` or as there are batches; with a GPU averages over ten steps, among which it runs ahead.
    """
    together, times = _ROUND[step.device.type], list[float]()
    first = last = None
    for number, batch in enumerate(batches, start=1):
        step.take(batch)
        if number % together:
            continue
        reached = now(step.device)
        if last is None or first is None:
            first = last = reached
            continue
        times.append((reached - last) / together)
        last = reached
        if len(times) >= least and reached - first >= seconds:
            break
    return times


def now(device: torch.device) -> float:
    """Seconds on a clock, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
