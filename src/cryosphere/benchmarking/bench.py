"""The measurement as a whole: the fast step, the literal one beside it, their stages, and the floor."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch

from cryosphere import __version__
from cryosphere.benchmarking.floor import Floor, floor_of, measure_machine, work_of
from cryosphere.benchmarking.literal import literal_images
from cryosphere.benchmarking.problem import BenchSettings, Problem, made_up
from cryosphere.benchmarking.stages import MOST, stages_of
from cryosphere.benchmarking.step import Step, seconds_per_step
from cryosphere.distribution import find_device
from cryosphere.model.batch import Batch
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.progress import SILENT, Progress
from cryosphere.training.data import ParticleLoader

_SECONDS = 3.0  # steps are timed for about so long, if `repeats` of them do not take longer
_STEPS = 400  # at most
DOUBTFUL = 1.5  # times the whole step, or its inverse: stages that add up to so much were not timed like the whole
_LITERAL_REPEATS = 2  # steps of the literal kind, each of which can take half a minute


Source = Literal["as in training", "file"]
"""Where batches come from: training keeps images on a GPU that has room for them, and else reads the cache's file."""


@dataclass(frozen=True)
class Speed:
    """Median time of a training step while the next batch is read, and the times of its stages."""

    images: int  # of a step
    images_at_once: int  # fewer where memory does not hold all of a step's
    steps: int  # that were timed
    images_per_second: float
    step_ms: float
    stages_ms: dict[str, float]
    stages_over_step: float  # all stages of the step together over the whole step
    peak_memory_bytes: int | None  # of the device; without one, of the process until then


@dataclass(frozen=True)
class Bench:
    """What was measured, on what."""

    settings: BenchSettings
    compared_box: int  # pixels of the side that images are cropped to
    device: str
    machine: str
    threads: int
    version: str
    torch: str
    spread: Speed
    reference: Speed | None
    step_speedup: float | None  # in images per second
    floor: Floor  # of the step with the fast projector
    doubts: tuple[str, ...]  # sentences on steps whose stages do not add up to the whole

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)


def bench(settings: BenchSettings, *, device: str = "auto", literal: bool = True, progress: Progress = SILENT) -> Bench:
    """Time training steps on made-up images of the given size, which are read from a temporary folder.

    literal: also time the paper's arithmetic as written.

    Raises:
        InputError: if there is no such device, for a size that is no size, or if the disk is full.
    """
    settings.require_sense()
    place = find_device(device)
    with progress.track(4 if literal else 3, "timing training steps") as advance, made_up(settings, place) as problem:
        advance(1)
        model = problem.fast_model()
        spread = speed_of(model, problem, settings.batch_size, settings.repeats)
        work = work_of(model, settings.batch_size, problem.features.shape[1])
        compared_box = model.projector.grid.box
        del model
        advance(1)
        reference = None
        if literal:
            images = literal_images(settings.batch_size, settings.residues, settings.box)
            reference = speed_of(problem.literal_model(), problem, images, min(settings.repeats, _LITERAL_REPEATS))
            advance(1)
        floor = floor_of(work, measure_machine(place), spread.step_ms)
        advance(1)
    return Bench(
        settings=settings,
        compared_box=compared_box,
        device=torch.cuda.get_device_name() if place.type == "cuda" else "cpu",
        machine=platform.processor() or platform.machine(),
        threads=torch.get_num_threads(),
        version=__version__,
        torch=torch.__version__,
        spread=spread,
        reference=reference,
        step_speedup=None if reference is None else spread.images_per_second / reference.images_per_second,
        floor=floor,
        doubts=tuple(_doubts({"spread": spread, "literal": reference}, place)),
    )


def _doubts(speeds: Mapping[str, Speed | None], device: torch.device) -> Iterator[str]:
    """A sentence for each kind of step that was timed under other conditions than its stages, as far as one can see."""
    cause = "another program was running, or the machine throttles: measure again"
    if device.type == "cuda":
        cause = f"the GPU works ahead within a step but is waited for after each stage, or {cause}"
    for kind, speed in speeds.items():
        if speed is not None and not 1 / DOUBTFUL <= speed.stages_over_step <= DOUBTFUL:
            ratio = f"{speed.stages_over_step:.2g} times the whole step"
            yield f"The stages of the {kind} step add up to {ratio} ({cause})."


def speed_of(
    model: HeterogeneityModel, problem: Problem, images: int, repeats: int, source: Source = "as in training"
) -> Speed:
    """Time steps of so many images as training takes them, then their stages."""
    device = problem.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step, loader = Step(model, problem.config, images), problem.loader(model)
    if source == "as in training":
        loader.settle()
    rows = problem.rows(_STEPS, images)
    times = sorted(seconds_per_step(step, loader.batches(rows, images), repeats, _SECONDS))
    seconds = times[len(times) // 2]
    stages = stages_of(step, _reading(loader, problem, images), repeats)
    return Speed(
        images=images,
        images_at_once=min(images, step.stepper.images_at_once),
        steps=len(times),
        images_per_second=images / seconds,
        step_ms=1e3 * seconds,
        stages_ms=stages,
        stages_over_step=sum(took for stage, took in stages.items() if stage != "load") / (1e3 * seconds),
        peak_memory_bytes=peak_memory(device),
    )


def _reading(loader: ParticleLoader, problem: Problem, images: int) -> Callable[[], Batch]:
    """A function that reads another batch each time it is called."""
    batches = np.split(problem.rows(2 * MOST, images), 2 * MOST)
    return lambda: loader.batch(batches.pop())


def peak_memory(device: torch.device) -> int | None:
    """Most bytes held at once: by tensors on a GPU since this was set back, or by this process since it began."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
