"""How fast a step could be at best: what must be moved and computed, over what the machine can move and compute.

Counted is every number that one stage of a step takes from or gives to another, once, and the arithmetic that the
stages cannot do without. What a stage keeps to itself (products of a perceptron's layers, a bead's kernel values) is
taken to stay in a cache. Divisions, roots and sines count as one operation each, so the floor is a little too low.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from cryosphere.benchmarking.stages import STAGES
from cryosphere.clock import now
from cryosphere.imaging.kernel import KERNEL_WIDTH
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model.vae import HeterogeneityModel

SINGLE, HALF = 4, 2  # bytes of a number
_DEGREE = 8  # of the polynomials that give a bead's kernel values
_TRANSFER, _COMPARE, _DIFFERENTIATE = 13, 17, 12  # operations at a frequency; see `_of_frequencies`
_ADAM, _CLIP = 14, 3  # operations for a parameter
_SECONDS = 0.4  # for each of the two measurements of the machine


@dataclass(frozen=True)
class Machine:
    """What all threads together, or the GPU, were seen to do."""

    bytes_per_second: float  # copying a large array, bytes read and bytes written
    operations_per_second: float  # of a large matrix product in single precision, a multiplication and an addition each


@dataclass(frozen=True)
class Work:
    """What a stage must move and compute."""

    bytes: float
    operations: float

    def seconds(self, machine: Machine) -> float:
        """The longer of the two, as moving and computing can go on at once."""
        return max(self.bytes / machine.bytes_per_second, self.operations / machine.operations_per_second)


@dataclass(frozen=True)
class Floor:
    """The least time of a step, and how far above it the measured one is."""

    machine: Machine
    work: dict[str, Work]  # of each stage
    bytes: float
    operations: float
    bytes_ms: float
    operations_ms: float
    floor_ms: float
    step_over_floor: float


def floor_of(work: dict[str, Work], machine: Machine, step_ms: float) -> Floor:
    """The floor of a step with that work, beside the time that it took."""
    total = Work(sum(w.bytes for w in work.values()), sum(w.operations for w in work.values()))
    least = 1e3 * total.seconds(machine)
    return Floor(
        machine,
        work,
        total.bytes,
        total.operations,
        1e3 * total.bytes / machine.bytes_per_second,
        1e3 * total.operations / machine.operations_per_second,
        least,
        step_ms / least,
    )


def work_of(model: HeterogeneityModel, images: int, features: int) -> dict[str, Work]:
    """What each of STAGES must move and compute in a step of the fast model.

    features: numbers per image that the lifted encoder looks at.
    """
    projector = model.projector
    assert isinstance(projector, SpreadProjector)
    beads, box, side = len(model.positions), projector.grid.box, projector.plain.box
    stored = box * (box // 2 + 1)
    compared = int(model.frequency_weights.count_nonzero())
    networks = (model.encoder, model.decoder)
    encoder, decoder = (sum(p.numel() for p in network.parameters()) for network in networks)
    parameters = sum(p.numel() for p in model.parameters())
    first = next(layer.weight.numel() for layer in model.encoder.modules() if isinstance(layer, nn.Linear))
    positions, pixels = 3 * SINGLE * images * beads, SINGLE * images * side**2
    moving = 2 * images * beads * 3 * 4 * model.segmentation.count  # a matrix product: every bead by all affine maps
    laying, reading = _of_beads(images * beads)
    transform = images * 2.5 * side**2 * math.log2(side**2)
    forward, back = _of_frequencies(images * compared)
    work = (
        Work(images * (2 * HALF * stored + HALF * features), 0),
        Work(SINGLE * encoder, 2 * images * encoder),
        Work(SINGLE * decoder + positions, 2 * images * decoder + moving),
        Work(positions + pixels, laying + transform),
        Work(2 * SINGLE * images * compared, forward),
        Work(
            2 * positions + pixels + SINGLE * parameters,
            images * (4 * (encoder + decoder) - 2 * first) + 2 * moving + reading + transform + back,
        ),
        Work(7 * SINGLE * parameters, (_ADAM + _CLIP) * parameters),
    )
    return dict(zip(STAGES, work, strict=True))


def _of_beads(count: int) -> tuple[float, float]:
    """Operations of laying beads on pixels and of reading the gradient back, seeing them from their side included."""
    window, polynomials, seeing = KERNEL_WIDTH**2, 2 * KERNEL_WIDTH, 12
    laying = 2 * window + KERNEL_WIDTH + polynomials * 2 * _DEGREE
    reading = 4 * window + 3 * 2 * KERNEL_WIDTH + polynomials * 2 * (2 * _DEGREE - 1)
    return count * (laying + seeing), count * (reading + seeing)


def _of_frequencies(count: int) -> tuple[float, float]:
    """Operations at the compared frequencies: forward and back.

    Forward: the transfer function (8 for the phase, a sine, the envelope's exponential and product, the scale, the
    widening) and the correlation with two powers (2 for the predicted image, 5 for each of the three sums).
    """
    return count * (_TRANSFER + _COMPARE), count * _DIFFERENTIATE


def measure_machine(device: torch.device) -> Machine:
    """Copy large arrays and multiply large matrices for about a second; the best of some tries counts."""
    on_gpu = device.type == "cuda"
    numbers, side = (2**28, 8192) if on_gpu else (2**25, 1536)
    source = torch.ones(numbers, device=device)
    copy = torch.empty_like(source)
    copying = _best_seconds(lambda: copy.copy_(source), device)
    del source, copy
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(side, side, device=device, generator=generator) for _ in range(2))
    product = torch.empty_like(left)
    multiplying = _best_seconds(lambda: torch.mm(left, right, out=product), device)
    return Machine(2 * SINGLE * numbers / copying, 2 * side**3 / multiplying)


def _best_seconds(call: Callable[[], object], device: torch.device) -> float:
    """The shortest of as many calls as take _SECONDS, at least three, after one that does not count."""
    call()
    took, end = list[float](), time.perf_counter() + _SECONDS
    while len(took) < 3 or time.perf_counter() < end:
        began = now(device)
        call()
        took.append(now(device) - began)
    return min(took)
