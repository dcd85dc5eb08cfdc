"""Speed of training on a GPU, in one call of under eight minutes, as Markdown for docs/performance.md.

    PYTHONPATH=src python benchmarks/gpu.py                  print the tables
    PYTHONPATH=src python benchmarks/gpu.py --write          and put them into docs/performance.md

Steps at the sizes that speeds are asked for at and several batch sizes, until memory ends: with the images on the GPU,
as training has them, and read from a file; stages; peak memory; the floor; an epoch of 150,000 images. Needs nothing
but the repository and the packages that it imports. Where there is no GPU it says so and exits with 0. What the time
left does not suffice for is left out, and named.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from cryosphere.benchmarking.bench import Speed
    from cryosphere.benchmarking.floor import Machine
    from cryosphere.benchmarking.problem import BenchSettings, Problem

SECONDS = 420.0  # after which no measurement is begun; the longest takes under a minute
BATCHES = (64, 256, 1024, 4096)
EPOCH = 150_000  # images
EPOCH_SECONDS = 30.0  # an epoch that takes longer is timed in part


def main() -> None:
    """Measure and print, or say that there is nothing to measure on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to try this program itself")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which nothing more is begun")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU was found by PyTorch: nothing was measured")
        return
    text = "\n\n".join(report(torch.device(options.device), Clock(options.seconds)))
    if options.write:
        from page import write_block

        write_block("gpu", text, "python benchmarks/gpu.py --write", "performance.md")


class Clock:
    """The time there is."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.left_out: list[str] = []

    def allows(self, what: str) -> bool:
        """Whether there is time left to begin; if not, it is noted what was left out."""
        if time.monotonic() < self._end:
            return True
        self.left_out.append(what)
        return False


def report(device: torch.device, clock: Clock) -> Iterator[str]:
    """Paragraphs and tables, each printed as soon as it is there."""
    from cryosphere.benchmarking.floor import measure_machine
    from cryosphere.benchmarking.problem import BenchSettings

    machine = measure_machine(device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    yield told(
        f"{name}: copies {machine.bytes_per_second / 1e9:,.0f} GB/s and multiplies matrices of single precision at "
        f"{machine.operations_per_second / 1e12:,.2f} · 10¹² operations/s, as measured."
    )
    sizes = (
        (BenchSettings(repeats=3), 40_000),
        (BenchSettings(box=256, residues=13_941, segments=20, repeats=3), 8_000),
    )
    for settings, wanted in sizes:
        title = f"{settings.box}², {settings.residues:,} residues, {settings.segments} segments"
        if clock.allows(title):
            yield told(f"**{title}** (wanted: ≥ {wanted:,} images/s)")
            for text in of_size(settings, machine, device, clock):
                yield told(text)
    if clock.left_out:
        yield told(f"Left out for want of time, and not measured: {'; '.join(clock.left_out)}.")


def told(text: str) -> str:
    """The same text, printed."""
    print(text, end="\n\n", flush=True)
    return text


def of_size(settings: BenchSettings, machine: Machine, device: torch.device, clock: Clock) -> Iterator[str]:
    """The tables of one size."""
    from cryosphere.benchmarking.bench import speed_of
    from cryosphere.benchmarking.problem import made_up

    with made_up(replace(settings, batch_size=max(BATCHES)), device) as problem:
        found: list[tuple[Speed, Speed | None]] = []
        for batch in BATCHES:
            if not clock.allows(f"batches of {batch}"):
                break
            try:
                resident = speed_of(problem.fast_model(), problem, batch, settings.repeats)
                read = None
                if device.type == "cuda" and clock.allows(f"batches of {batch} read from a file"):
                    read = speed_of(problem.fast_model(), problem, batch, settings.repeats, "file")
                found.append((resident, read))
            except torch.OutOfMemoryError:
                yield f"Batches of {batch} images: out of memory."
                break
        if not found:
            return
        yield steps_table(found, problem, machine)
        yield stages_table([resident for resident, _ in found])
        best = max((resident for resident, _ in found), key=lambda speed: speed.images_per_second)
        if clock.allows("an epoch"):
            yield epoch(problem, best)
        if clock.allows("the literal step"):
            yield literal(problem, settings, found[0][0])


def steps_table(found: list[tuple[Speed, Speed | None]], problem: Problem, machine: Machine) -> str:
    """A row per batch size, with how many images memory held at once if not all.

    The floor has what must be moved and computed over what the machine was seen to do.
    """
    from cryosphere.benchmarking.floor import floor_of, work_of

    model = problem.fast_model()
    lines = [
        f"| batch | images/s | step, ms | floor, ms | of the floor | epoch of {EPOCH:,}, s | "
        "images/s read from a file | peak memory, GB |",
        "|---" * 8 + "|",
    ]
    for resident, read in found:
        floor = floor_of(work_of(model, resident.images, problem.features.shape[1]), machine, resident.step_ms)
        at_once = "" if resident.images_at_once == resident.images else f" ({resident.images_at_once} at once)"
        memory = "-" if resident.peak_memory_bytes is None else f"{resident.peak_memory_bytes / 1e9:.2f}"
        lines.append(
            f"| {resident.images}{at_once} | {resident.images_per_second:,.0f} | {resident.step_ms:.2f} | "
            f"{floor.floor_ms:.3f} | "
            f"1/{floor.step_over_floor:.1f} | {EPOCH / resident.images_per_second:.1f} | "
            f"{'not measured' if read is None else f'{read.images_per_second:,.0f}'} | {memory} |"
        )
    return "\n".join(lines)


def stages_table(speeds: list[Speed]) -> str:
    """Milliseconds of every stage, with the device waited for after each."""
    head = f"| stage, ms | {' | '.join(f'batch {speed.images}' for speed in speeds)} |"
    stages = speeds[0].stages_ms
    rows = [f"| {stage} | {' | '.join(f'{speed.stages_ms[stage]:.3f}' for speed in speeds)} |" for stage in stages]
    return "\n".join([head, "|---" * (len(speeds) + 1) + "|", *rows])


def epoch(problem: Problem, best: Speed) -> str:
    """The steps of an epoch one after the other by the clock, or as many of them as half a minute holds."""
    from cryosphere.benchmarking.step import Step
    from cryosphere.clock import now

    batch = best.images
    step = Step(problem.fast_model(), problem.config, batch)
    loader = problem.loader(step.model)
    loader.settle()
    step.take(loader.batch(problem.rows(1, batch)))
    whole = -(-EPOCH // batch)
    steps = max(1, min(whole, int(EPOCH_SECONDS * best.images_per_second / batch)))
    began = now(problem.device)
    for particles in loader.batches(problem.rows(steps, batch), batch):
        step.take(particles)
    seconds = now(problem.device) - began
    part = "" if steps == whole else f", so that {EPOCH:,} would take {seconds * EPOCH / (steps * batch):.1f} s"
    return (
        f"By the clock, {steps * batch:,} images in steps of {batch} took {seconds:.2f} s{part} "
        f"({len(problem.images):,} images again and again)."
    )


def literal(problem: Problem, settings: BenchSettings, fast: Speed) -> str:
    """The paper's arithmetic as written, at the smallest batch size."""
    from cryosphere.benchmarking.bench import speed_of
    from cryosphere.benchmarking.literal import literal_images

    images = literal_images(fast.images, settings.residues, settings.box)
    try:
        slow = speed_of(problem.literal_model(), problem, images, 2)
    except torch.OutOfMemoryError:
        return f"The paper's arithmetic as written: out of memory at {images} images per step."
    ratio = fast.images_per_second / slow.images_per_second
    return (
        f"The paper's arithmetic as written: {slow.images_per_second:,.0f} images/s ({slow.images} images per step, "
        f"{slow.step_ms:.1f} ms). The fast step at batch {fast.images}: {ratio:.1f} times that."
    )


if __name__ == "__main__":
    main()
