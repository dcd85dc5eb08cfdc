"""Accuracy of the demo over several seeds, as a table for docs/results.md.

    python benchmarks/accuracy.py --seeds 0 1 2

Every seed is another protein with other images. The table replaces the part of docs/results.md between the markers.
Other data whose truth is known: see experiments/.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from page import write_block

from cryosphere.demo import demo
from cryosphere.evaluation.evaluate import Evaluation


@dataclass(frozen=True)
class Trial:
    """One seed."""

    seed: int
    evaluation: Evaluation
    seconds: float


def the_demo(images: int) -> Callable[[int, Path], Trial]:
    """`cryosphere demo`, simulation and analysis included in the time."""

    def run(seed: int, folder: Path) -> Trial:
        result = demo(folder / "demo", images=images, seed=seed)
        assert result is not None
        return Trial(seed, result.evaluation, result.seconds)

    return run


def as_table(trials: Sequence[Trial], names: Sequence[str]) -> str:
    """Correlations beside their oracles, deviations and times: a row per seed, then mean ± standard deviation."""
    head = ["seed"]
    for name in names:
        head += [f"{name}: correlation", "oracle"]
    head += ["RMSD, Å", "unmoved base, Å", "seconds"]
    rows = []
    for trial in trials:
        found = {agreement.name: agreement for agreement in trial.evaluation.agreements}
        numbers = []
        for name in names:
            numbers += [found[name].correlation, found[name].oracle_correlation or float("nan")]
        rows.append([*numbers, trial.evaluation.deviation, trial.evaluation.base_deviation, trial.seconds])
    digits = [3, 3] * len(names) + [2, 2, 0]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for trial, row in zip(trials, rows, strict=True):
        lines.append(f"| {trial.seed} | " + " | ".join(f"{x:.{d}f}" for x, d in zip(row, digits, strict=True)) + " |")
    if len(rows) > 1:
        spread = [
            f"{statistics.mean(column):.{d}f} ± {statistics.stdev(column):.{d}f}"
            for column, d in zip(zip(*rows, strict=True), digits, strict=True)
        ]
        lines.append("| mean ± sd | " + " | ".join(spread) + " |")
    return "\n".join(lines)


def segments_of(trials: Sequence[Trial]) -> str:
    """The learned segments of each seed, by residue numbers."""
    lines = []
    for trial in trials:
        parts = "; ".join(", ".join(r.lstrip(":") for r in s.ranges) for s in trial.evaluation.segments)
        lines.append(f"Segments, seed {trial.seed}: {parts}.")
    return "\n\n".join(lines)


def main() -> None:
    """Run the demo with every seed and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    run, names = the_demo(options.images), ["domain 2-domain 1 angle", "domain 2-domain 1 distance"]
    trials = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            trials.append(run(seed, Path(folder)))
        print(as_table(trials[-1:], names), flush=True)
    write_block("demo", f"{as_table(trials, names)}\n\n{segments_of(trials)}", "python benchmarks/accuracy.py")


if __name__ == "__main__":
    main()
