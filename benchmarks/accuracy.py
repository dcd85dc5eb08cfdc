"""Accuracy on simulated images whose truth is known, over several seeds, as a table for docs/results.md.

    python benchmarks/accuracy.py demo --seeds 0 1 2
    python benchmarks/accuracy.py adk --data FOLDER_WITH_adk_dims.dcd_AND_adk_closed.pdb --seeds 0 1 2

Each seed simulates a new data set, trains with the default settings, and is compared with the truth and the oracle. The
table replaces the part of docs/results.md between the markers of the same name.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from page import write_block

from cryosphere.demo import demo
from cryosphere.evaluation.evaluate import Evaluation, evaluate
from cryosphere.settings import validate
from cryosphere.simulation.config import SimulationConfig
from cryosphere.simulation.simulate import simulate
from cryosphere.training.configure import configure
from cryosphere.training.train import train

LID, NMP = "LID=122-159", "NMP=30-59"


@dataclass(frozen=True)
class Trial:
    """One seed."""

    seed: int
    evaluation: Evaluation
    seconds: float


def adenylate_kinase(data: Path, snr: float, images: int, epochs: int | None) -> Callable[[int, Path], Trial]:
    """15,000 images of 64² at 1.5 Å of the 98 frames of a closed-to-open transition; the first frame is the base."""

    def run(seed: int, folder: Path) -> Trial:
        motion = {
            "kind": "trajectory",
            "trajectory": data / "adk_dims.dcd",
            "topology": data / "adk_closed.pdb",
        }
        size = {"count": images, "box": 64, "pixel_size": 1.5, "snr": snr, "shift": 5.0}
        config = validate(SimulationConfig, {"motion": motion, "images": size, "seed": seed}, origin="the benchmark")
        made = simulate(config, folder / "data")
        began = time.monotonic()
        options = {} if epochs is None else {"epochs": epochs}
        train(configure(particles=[made.particles], model=made.model, seed=seed, **options), folder / "run")
        seconds = time.monotonic() - began
        domains = [LID, NMP, "CORE=rest"]
        return Trial(seed, evaluate(folder / "run", made.truth_path, domains=domains, oracle_images=500), seconds)

    return run


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
    """Run one experiment over its seeds and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=["demo", "adk"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", type=Path, help="folder with adk_dims.dcd and adk_closed.pdb")
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--images", type=int)
    parser.add_argument("--epochs", type=int, help="default: that of cryosphere train")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if options.experiment == "demo":
        run, names = the_demo(options.images or 10_000), ["domain 2-domain 1 angle", "domain 2-domain 1 distance"]
        name, command = "demo", "python benchmarks/accuracy.py demo"
    else:
        if options.data is None:
            parser.error("adk needs --data")
        images = options.images or 15_000
        run = adenylate_kinase(options.data, options.snr, images, options.epochs)
        names = ["LID-CORE distance", "NMP-CORE distance"]
        name = f"adk {options.snr:g}"
        command = f"python benchmarks/accuracy.py adk --snr {options.snr:g} --images {images}"
        command += "" if options.epochs is None else f" --epochs {options.epochs}"
    trials = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            trials.append(run(seed, Path(folder)))
        print(as_table(trials[-1:], names), flush=True)
    write_block(name, f"{as_table(trials, names)}\n\n{segments_of(trials)}", command)


if __name__ == "__main__":
    main()
