"""Speed on this machine: the tables and pictures of docs/performance.md.

    python benchmarks/performance.py                 everything, about a quarter of an hour on two cores
    python benchmarks/performance.py growth          one part: steps, growth, gpu-prediction

Every size is timed by `cryosphere bench` in a process of its own, so that none inherits another's memory. Nothing else
should compute meanwhile. The loops by themselves: benchmarks/kernels.py; a GPU: benchmarks/gpu.py.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from page import DOCS, write_block
from pictures import growth_picture, held_fixed, roofline_picture
from pydantic import TypeAdapter

from cryosphere.benchmarking.bench import Bench
from cryosphere.benchmarking.floor import Machine, floor_of, work_of
from cryosphere.benchmarking.problem import BenchSettings, made_up
from cryosphere.benchmarking.table import table

PAGE = "performance.md"
COMMAND = "python benchmarks/performance.py"
IN_PROPORTION = 1.1  # the largest exponent that is not named: noise makes 1 as large
H200 = Machine(bytes_per_second=4.8e12, operations_per_second=67e12)  # by its data sheet, single precision


@dataclass(frozen=True)
class Wanted:
    """A size, what is to be reached at it, and how often the literal step's speed that is."""

    settings: BenchSettings
    times_literal: float | None


SIZES = (
    Wanted(BenchSettings(), 10),
    Wanted(BenchSettings(box=256, residues=13_941, segments=20), 40),
    Wanted(BenchSettings(box=64, residues=214, segments=10, batch_size=128, pixel_size=1.5), None),
)

FROM = BenchSettings(box=256, residues=5_000, segments=20)
GROWTH: dict[str, tuple[BenchSettings, ...]] = {
    "residues": tuple(replace(FROM, residues=n) for n in (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)),
    "segments": tuple(replace(FROM, segments=n) for n in (4, 8, 15, 30, 60)),
    "box": tuple(replace(FROM, residues=214, segments=10, box=n) for n in (64, 96, 128, 192, 256, 384)),
}
"""What grows, all else being equal: at 256² of 1 Å with 5,000 residues and 20 segments.

Boxes grow about a molecule that the smallest has room for: one that comes near its border would be laid on a padded
grid there, and only there.
"""


def main() -> None:
    """Time all sizes and write the blocks."""
    blocks: dict[str, Callable[[], None]] = {"steps": steps, "growth": growth, "gpu-prediction": gpu_prediction}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("blocks", nargs="*", metavar="BLOCK", help=f"of {', '.join(blocks)}; default: all")
    chosen = parser.parse_args().blocks or list(blocks)
    if unknown := set(chosen) - set(blocks):
        parser.error(f"no block is called {', '.join(sorted(unknown))}; there are {', '.join(blocks)}")
    for name in chosen:
        blocks[name]()


def steps() -> None:
    """The sizes that were asked for: what was predicted and what came, the whole tables, and the roofline."""
    found = [measured(wanted.settings, literal=True) for wanted in SIZES]
    found = on_one_machine(found)
    tables = "\n\n".join(table(result) for result in found)
    write_block("prediction", prediction(found), f"{COMMAND} steps", PAGE)
    write_block("steps", f"```\n{tables}\n```", f"{COMMAND} steps", PAGE)
    (DOCS / "_static" / "roofline.png").write_bytes(roofline_picture(found[:2]))


def growth() -> None:
    """How the step's time grows with residues, segments and pixels."""
    found = {name: [measured(settings, literal=False) for settings in sizes] for name, sizes in GROWTH.items()}
    alike = iter(on_one_machine([result for results in found.values() for result in results]))
    found = {name: [next(alike) for _ in results] for name, results in found.items()}
    text = "\n\n".join(
        f"{growth_table(name, results)}\n\n{growth_remarks(name, results)}" for name, results in found.items()
    )
    write_block("growth", text, f"{COMMAND} growth", PAGE)
    (DOCS / "_static" / "growth.png").write_bytes(growth_picture(found))


def gpu_prediction() -> None:
    """The floor of the large sizes on a GPU, from its data sheet."""
    lines = ["| box | residues | segments | batch | floor, ms | images/s at most |", "|---" * 6 + "|"]
    for wanted in SIZES[:2]:
        for batch in (64, 1024):
            settings = replace(wanted.settings, batch_size=batch)
            with made_up(replace(settings, batch_size=1), torch.device("cpu")) as problem:
                work = work_of(problem.fast_model(), batch, problem.features.shape[1])
            least = floor_of(work, H200, step_ms=1.0).floor_ms
            lines.append(
                f"| {settings.box} | {settings.residues:,} | {settings.segments} | {batch:,} | {least:.3f} | "
                f"{1e3 * batch / least:,.0f} |"
            )
    write_block("gpu-prediction", "\n".join(lines), f"{COMMAND} gpu-prediction", PAGE, how="Computed")


def measured(settings: BenchSettings, *, literal: bool) -> Bench:
    """What `cryosphere bench` says of a size."""
    options = [
        *("--box", settings.box, "--residues", settings.residues, "--segments", settings.segments),
        *("--batch-size", settings.batch_size, "--pixel-size", settings.pixel_size, "--device", "cpu"),
        "--literal" if literal else "--no-literal",
    ]
    command = [sys.executable, "-m", "cryosphere", "bench", "--json", *map(str, options)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    result = TypeAdapter(Bench).validate_json(done.stdout)
    print(table(result), end="\n\n", flush=True)
    return result


def on_one_machine(results: Sequence[Bench]) -> list[Bench]:
    """The same results with floors by the fastest copying and multiplying that any of the runs saw."""
    machines = [result.floor.machine for result in results]
    best = Machine(
        max(machine.bytes_per_second for machine in machines),
        max(machine.operations_per_second for machine in machines),
    )
    return [replace(result, floor=floor_of(result.floor.work, best, result.spread.step_ms)) for result in results]


def prediction(results: Sequence[Bench]) -> str:
    """Images per second by the floor, as measured, and of the literal step, beside what was asked for."""
    lines = [
        "| box | residues | segments | batch | floor, images/s | measured, images/s | of the floor | "
        "literal, images/s | times the literal | wanted |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result, wanted in zip(results, SIZES, strict=True):
        s, literal = result.settings, result.reference
        assert literal is not None and result.step_speedup is not None
        predicted = 1e3 * s.batch_size / result.floor.floor_ms
        asked = f"≥ {wanted.times_literal:g}" if wanted.times_literal else "-"
        lines.append(
            f"| {s.box} | {s.residues:,} | {s.segments} | {s.batch_size} | {predicted:,.0f} | "
            f"{result.spread.images_per_second:,.0f} | 1/{result.floor.step_over_floor:.1f} | "
            f"{literal.images_per_second:,.3g} | {result.step_speedup:.1f} | {asked} |"
        )
    return "\n".join(lines)


def growth_table(name: str, results: Sequence[Bench]) -> str:
    """A row per size; the exponent says by which power of the size the time has grown since the row before."""
    what = "pixels of the box" if name == "box" else name
    lines = [
        f"| {name} | step, ms | images/s | floor, ms | peak memory, GB | exponent in {what} |",
        "|---|---|---|---|---|---|",
    ]
    powers = ["-", *(f"{power:.2f}" for power in exponents(name, results))]
    for result, power in zip(results, powers, strict=True):
        memory = result.spread.peak_memory_bytes
        lines.append(
            f"| {getattr(result.settings, name):,} | {result.spread.step_ms:.1f} | "
            f"{result.spread.images_per_second:,.0f} | {result.floor.floor_ms:.2f} | "
            f"{'-' if memory is None else f'{memory / 1e9:.2f}'} | {power} |"
        )
    return "\n".join(lines)


def growth_remarks(name: str, results: Sequence[Bench]) -> str:
    """What was held fixed, where the time grows faster than in proportion, and which rows are in doubt."""
    s = results[0].settings
    remarks = [f"Fixed: {held_fixed(name, results[0])}, {s.batch_size} images per step, pixels of {s.pixel_size:g} Å."]
    sizes = [f"{getattr(result.settings, name):,}" for result in results]
    for (before, after), power in zip(pairwise(sizes), exponents(name, results), strict=True):
        if power > IN_PROPORTION:
            remarks.append(
                f"Faster than in proportion: from {name} {before} to {after}, with the exponent {power:.2f}."
            )
    remarks += [
        f"In doubt, {name} {size}: {doubt}"
        for size, result in zip(sizes, results, strict=True)
        for doubt in result.doubts
    ]
    return "\n".join(remarks)


def exponents(name: str, results: Sequence[Bench]) -> list[float]:
    """By which power of the size the time grows from each result to the next."""
    return [
        math.log(after.spread.step_ms / before.spread.step_ms) / math.log(size_of(name, after) / size_of(name, before))
        for before, after in pairwise(results)
    ]


def size_of(name: str, result: Bench) -> float:
    """What cost is compared with: residues, segments, or the pixels of an image."""
    value: int = getattr(result.settings, name)
    return value**2 if name == "box" else value


if __name__ == "__main__":
    main()
