"""Where a step's time goes, stage by stage.

On a processor the fast model compares images in pieces, values and gradients in the same passes, so that a running step
has no moment at which projecting ends. Those stages are measured as calls of their own, in the same pieces: projecting
alone, comparing without a gradient, and the step's own call, which takes the gradient with it. What the last takes
longer than the second is counted as the way back.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from cryosphere.benchmarking.literal import LiteralModel
from cryosphere.benchmarking.step import LAPS, Step
from cryosphere.clock import now
from cryosphere.imaging.formation import particle_spectra
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model.batch import Batch
from cryosphere.model.comparing import Compared, in_pieces
from cryosphere.model.correlation import project
from cryosphere.model.vae import HeterogeneityModel

STAGES = ("load", "encode", "decode + deform", "project", "CTF + loss", "backward", "optimiser")
SECONDS = 1.0  # a stage is timed for about so long, if `repeats` calls do not take longer
MOST = 200  # calls


def stages_of(step: Step, load: Callable[[], Batch], repeats: int) -> dict[str, float]:
    """Milliseconds of each of STAGES, medians of `repeats` calls or more; all but `load` make up a step.

    load: reads another batch each time it is called.
    """
    device = step.device
    batch = load()
    laps = _median_laps(step, batch, repeats)
    projecting, comparing = _parts_of_explaining(step.model, batch, repeats)
    explaining = laps["explain"]
    comparing = explaining if comparing is None else min(comparing, explaining)
    projecting = min(projecting, comparing)
    return {
        "load": milliseconds(load, repeats, device),
        "encode": laps["encode"],
        "decode + deform": laps["decode + deform"],
        "project": projecting,
        "CTF + loss": comparing - projecting + laps["terms"],
        "backward": explaining - comparing + laps["backward"],
        "optimiser": laps["optimiser"],
    }


def _median_laps(step: Step, batch: Batch, repeats: int) -> dict[str, float]:
    """Each lap's median over steps whose stages wait for one another, after one that does not count."""
    step.laps(batch)
    steps, end = list[dict[str, float]](), time.perf_counter() + SECONDS
    while len(steps) < repeats or time.perf_counter() < end:
        steps.append(step.laps(batch))
    return {lap: statistics.median(laps[lap] for laps in steps) for lap in LAPS}


def milliseconds(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median time of a call, after one that does not count."""
    call()
    times, end = list[float](), time.perf_counter() + SECONDS
    while len(times) < repeats or (time.perf_counter() < end and len(times) < MOST):
        began = now(device)
        call()
        times.append(now(device) - began)
    return 1e3 * statistics.median(times)


def _parts_of_explaining(model: HeterogeneityModel, batch: Batch, repeats: int) -> tuple[float, float | None]:
    """Milliseconds of projecting alone, and of comparing without a gradient where the gradient comes along with it."""
    with torch.no_grad():
        z = model.inference(batch).mean
        positions, _ = model.structures(z, model.segmentation(draw=False))
    device = positions.device
    if device.type != "cpu" or isinstance(model, LiteralModel):  # as a whole, with all that the way back needs
        given = positions.requires_grad_()

        def projected() -> Tensor:
            return particle_spectra(given, model.amplitudes, batch.rotations, model.projector)

        return milliseconds(projected, repeats, device), None
    projecting = milliseconds(lambda: in_pieces(_Projection(model, batch), positions), repeats, device)
    return projecting, milliseconds(lambda: model.explain(positions, batch), repeats, device)


class _Projection:
    """A comparison that stops when the pieces' images are projected and transformed."""

    def __init__(self, model: HeterogeneityModel, batch: Batch) -> None:
        assert isinstance(model.projector, SpreadProjector)
        self.projector = model.projector
        self.amplitudes = model.amplitudes
        self.batch = batch

    def __call__(self, structures: Tensor, piece: slice, **_: bool) -> Compared:
        some = self.batch[piece]
        spectra = project(structures, self.amplitudes, some, self.projector).spectra
        if spectra is None:  # a bead comes near the border
            spectra = particle_spectra(structures, self.amplitudes, some.rotations, self.projector)
        return spectra[:, 0, 0].real, None
