"""How fast a training step is on this machine, and where its time goes; the literal projector beside the fast one."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from cryosphere import __version__
from cryosphere.errors import ConfigError
from cryosphere.fourier import to_spectrum
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import Projector, ReferenceProjector
from cryosphere.model.batch import Batch
from cryosphere.model.lifting import LiftingGrid
from cryosphere.model.vae import HeterogeneityModel, Weights
from cryosphere.structures.beads import Beads
from cryosphere.training.build import build_model, find_device
from cryosphere.training.config import TrainingSettings
from cryosphere.training.configure import configure

_FORWARD = {
    "inference": "encode",
    "structures": "decode and deform",
    "explain": "project and compare",
}
"""Methods of the model, in the order in which a step calls them, and the stage that ends with each.

On a CPU, projecting and comparing includes their way back (`cryosphere.model.comparing`)."""


@dataclass(frozen=True)
class BenchSettings:
    """Size of the problem to time."""

    box: int = 190
    residues: int = 1006
    segments: int = 25
    batch_size: int = 64
    pixel_size: float = 1.0  # Å
    repeats: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Speed:
    """Median times of one training step (encode, decode, deform, project, compare, go back, clip, update)."""

    images_per_second: float
    step_ms: float
    projection_ms: float  # forward and backward, by itself


@dataclass(frozen=True)
class Bench:
    """What was measured, on what."""

    settings: BenchSettings
    device: str
    machine: str
    threads: int
    version: str
    torch: str
    spread: Speed
    reference: Speed
    step_speedup: float
    projection_speedup: float
    stages_ms: dict[str, float]  # of a step with the fast projector

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)


def bench(settings: BenchSettings, *, device: str = "auto") -> Bench:
    """Time a training step on made-up data of the given size. Images are in memory: reading them is not included.

    Raises:
        InputError: if there is no such device, or for a size that is no size.
    """
    _check(settings)
    place = find_device(device)
    model, batch, training = _problem(settings, place)
    step = _Step(model, batch, training)
    grid = ImageGrid(settings.box, settings.pixel_size)
    fast, literal = model.projector, ReferenceProjector(grid)
    speeds: dict[str, Speed] = {}
    stages: dict[str, float] = {}
    for name, projector in (("spread", fast), ("reference", literal)):
        model.projector = projector
        whole = _median(step.run, settings.repeats, place)
        projection = _median(_projection(projector, model, batch), settings.repeats, place)
        speeds[name] = Speed(settings.batch_size / whole, 1e3 * whole, 1e3 * projection)
        if name == "spread":
            stages = _stages(step, settings.repeats)
    return Bench(
        settings=settings,
        device=torch.cuda.get_device_name() if place.type == "cuda" else "cpu",
        machine=platform.processor() or platform.machine(),
        threads=torch.get_num_threads(),
        version=__version__,
        torch=torch.__version__,
        spread=speeds["spread"],
        reference=speeds["reference"],
        step_speedup=speeds["reference"].step_ms / speeds["spread"].step_ms,
        projection_speedup=speeds["reference"].projection_ms / speeds["spread"].projection_ms,
        stages_ms=stages,
    )


def _check(settings: BenchSettings) -> None:
    least = {"box": 8, "residues": 2, "segments": 1, "batch_size": 1, "repeats": 1}
    for name, smallest in least.items():
        if getattr(settings, name) < smallest:
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"{option} is {getattr(settings, name)}; it must be at least {smallest}")
    if settings.segments > settings.residues:
        raise ConfigError(
            f"{settings.segments} segments of {settings.residues} residues: --segments must not exceed --residues"
        )
    if not (settings.pixel_size > 0 and math.isfinite(settings.pixel_size)):
        raise ConfigError(f"pixels of {settings.pixel_size} Å: the pixel size must be positive")


def _problem(settings: BenchSettings, device: torch.device) -> tuple[HeterogeneityModel, Batch, TrainingSettings]:
    """A model of a globule of residues, images of noise, and how training would go."""
    generator = np.random.default_rng(settings.seed)
    beads = _globule(settings, generator)
    config = configure(
        particles="bench.star", model="bench.cif", segments=settings.segments, seed=settings.seed, box=settings.box
    )
    grid = ImageGrid(settings.box, settings.pixel_size)
    model = build_model(config, beads, grid, settings.batch_size, device)
    count = settings.batch_size
    torch.manual_seed(settings.seed)
    rotations = torch.linalg.qr(torch.randn(count, 3, 3))[0]
    values = (15301.1, 14916.4, 0.092, 0.0, 0.0, 1.0, 300.0, 2.7, 0.07)
    ctf = CtfParameters(*(torch.full((count,), value) for value in values))
    points = len(LiftingGrid.around(beads.positions, LiftingGrid.per_axis(beads.positions)).points)
    images = to_spectrum(torch.randn(count, settings.box, settings.box))
    batch = Batch(torch.arange(count), images, rotations, ctf, torch.randn(count, points))
    return model.train(), batch.to(device), config.training


def _globule(settings: BenchSettings, generator: np.random.Generator) -> Beads:
    """Residues at a protein's density (one in 135 Å³), or as dense as it takes to fit the box."""
    count = settings.residues
    radius = min((3 * 135 * count / (4 * math.pi)) ** (1 / 3), 0.4 * settings.box * settings.pixel_size)
    directions = generator.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    positions = directions * radius * generator.uniform(size=(count, 1)) ** (1 / 3)
    text = np.full(count, "A")
    pairs = np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)
    return Beads(
        positions,
        np.full(count, 60.0),
        text,
        np.arange(1, count + 1),
        np.full(count, ""),
        text,
        np.full(count, "protein"),
        pairs,
    )


class _Step:
    """One step of training, over and over on the same batch, with training's default optimiser and clipping."""

    def __init__(self, model: HeterogeneityModel, batch: Batch, settings: TrainingSettings) -> None:
        self.model = model
        self.batch = batch
        self.settings = settings
        self.device = batch.rotations.device
        self.optimizer = AdamW(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.generator = torch.Generator(self.device)

    def run(self, lap: Callable[[str], None] = lambda stage: None) -> None:
        """Take the step; `lap` is called at the end of each stage after the forward ones."""
        self.generator.manual_seed(self.settings.seed)
        losses = self.model(self.batch, Weights(), self.generator)
        lap("losses")
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        lap("backward")
        if self.settings.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        lap("update")

    def laps(self) -> dict[str, float]:
        """Take the step, waiting for the device after each stage: milliseconds of the stages, which add up to it."""
        found = dict.fromkeys((*_FORWARD.values(), "losses", "backward", "update"), 0.0)
        last = [_now(self.device)]

        def lap(stage: str) -> None:
            now = _now(self.device)
            found[stage] += 1e3 * (now - last[0])
            last[0] = now

        def followed_by_lap(method: Callable[..., object], stage: str) -> Callable[..., object]:
            def call(*arguments: object) -> object:
                result = method(*arguments)
                lap(stage)
                return result

            return call

        for method, stage in _FORWARD.items():
            setattr(self.model, method, followed_by_lap(getattr(self.model, method), stage))
        try:
            self.run(lap)
        finally:
            for method in _FORWARD:
                delattr(self.model, method)
        return found


def _projection(projector: Projector, model: HeterogeneityModel, batch: Batch) -> Callable[[], object]:
    xy = torch.matmul(model.positions, batch.rotations[:, :2].mT).contiguous().requires_grad_()

    def run() -> tuple[Tensor, ...]:
        spectra = projector(xy, model.amplitudes)
        return torch.autograd.grad(torch.view_as_real(spectra).square().sum(), xy)

    return run


def _stages(step: _Step, repeats: int) -> dict[str, float]:
    """Milliseconds of each stage of one step, the one of median length, after one that does not count."""
    step.laps()
    steps = sorted((step.laps() for _ in range(repeats)), key=lambda laps: sum(laps.values()))
    return steps[len(steps) // 2]


def _median(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median seconds of a call, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        began = _now(device)
        run()
        times.append(_now(device) - began)
    return float(np.median(times[1:]))


def _now(device: torch.device) -> float:
    """Seconds on a clock, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def table(result: Bench) -> str:
    """The measurement as text."""
    s, fast, literal = result.settings, result.spread, result.reference
    lines = [
        f"cryosphere {result.version}, torch {result.torch}",
        f"{result.device} ({result.machine}, {result.threads} threads)",
        f"{s.batch_size} images of {s.box}² at {s.pixel_size:g} Å, {s.residues} residues, {s.segments} segments; "
        f"medians of {s.repeats}",
        "",
        f"{'':24}{'fast':>12}{'literal':>12}{'ratio':>9}",
        f"{'projection, ms':24}{fast.projection_ms:12.1f}{literal.projection_ms:12.1f}{result.projection_speedup:9.1f}",
        f"{'training step, ms':24}{fast.step_ms:12.1f}{literal.step_ms:12.1f}{result.step_speedup:9.1f}",
        f"{'images per second':24}{fast.images_per_second:12.0f}{literal.images_per_second:12.0f}",
        "",
        *(f"{name:24}{value:12.1f} ms" for name, value in result.stages_ms.items()),
    ]
    return "\n".join(lines)
