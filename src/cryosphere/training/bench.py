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

from cryosphere import __version__
from cryosphere.fourier import to_spectrum
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import Projector, ReferenceProjector
from cryosphere.model.batch import Batch
from cryosphere.model.lifting import LiftingGrid
from cryosphere.model.vae import HeterogeneityModel, Weights
from cryosphere.structures.beads import Beads
from cryosphere.training.build import build_model, find_device
from cryosphere.training.configure import configure


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
    """Median times of one training step (encode, decode, deform, project, compare, go back, update)."""

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
        InputError: if there is no such device, or more segments than residues.
    """
    place = find_device(device)
    model, batch = _problem(settings, place)
    grid = ImageGrid(settings.box, settings.pixel_size)
    fast, literal = model.projector, ReferenceProjector(grid)
    speeds: dict[str, Speed] = {}
    stages: dict[str, float] = {}
    for name, projector in (("spread", fast), ("reference", literal)):
        model.projector = projector
        step = _median(lambda: _step(model, batch, settings.seed), settings.repeats, place)
        projection = _median(_projection(projector, model, batch), settings.repeats, place)
        speeds[name] = Speed(settings.batch_size / step, 1e3 * step, 1e3 * projection)
        if name == "spread":
            stages = _stages(model, batch, settings, place)
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


def _problem(settings: BenchSettings, device: torch.device) -> tuple[HeterogeneityModel, Batch]:
    """A model of a globule of residues, and images of noise."""
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
    points = len(LiftingGrid.around(beads.positions, config.encoder.grid).points)
    images = to_spectrum(torch.randn(count, settings.box, settings.box))
    batch = Batch(torch.arange(count), images, rotations, ctf, torch.randn(count, points))
    return model.train(), batch.to(device)


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


def _step(model: HeterogeneityModel, batch: Batch, seed: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    generator = torch.Generator(batch.rotations.device).manual_seed(seed)
    model(batch, Weights(), generator).total.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _projection(projector: Projector, model: HeterogeneityModel, batch: Batch) -> Callable[[], object]:
    xy = torch.matmul(model.positions, batch.rotations[:, :2].mT).contiguous().requires_grad_()

    def run() -> tuple[Tensor, ...]:
        spectra = projector(xy, model.amplitudes)
        return torch.autograd.grad(torch.view_as_real(spectra).square().sum(), xy)

    return run


def _stages(model: HeterogeneityModel, batch: Batch, settings: BenchSettings, device: torch.device) -> dict[str, float]:
    """Time of each stage forward, in ms, from longer and longer pieces of the step; the rest is going back."""
    with torch.no_grad():
        membership = model.segmentation(draw=False)
        z = model.inference(batch).mean
        positions, _ = model.structures(z, membership)
        predicted = model.generative(positions, batch)
        pieces: dict[str, Callable[[], object]] = {
            "encode": lambda: model.inference(batch),
            "decode and deform": lambda: model.structures(z, model.segmentation(draw=False)),
            "project and CTF": lambda: model.generative(positions, batch),
            "compare": lambda: model.correlate(predicted, batch),
        }
        times = {name: 1e3 * _median(piece, settings.repeats, device) for name, piece in pieces.items()}
    whole = 1e3 * _median(lambda: _step(model, batch, settings.seed), settings.repeats, device)
    times["backward and update"] = whole - sum(times.values())
    return times


def _median(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median seconds of a call, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        _wait(device)
        began = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
