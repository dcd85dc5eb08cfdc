"""What the tools after a run tell of simulated data, whose truth is known; writes the blocks of docs/bias.md.

    python benchmarks/bias.py missing --folder DIR [--seeds 0 1 2]

and so on: missing, occupancy, null, opening, omitted, kernel, calibration, segments. Data sets and runs are made in DIR
(a few GB) and what was measured is kept in DIR/measured, so that a block can be written again without measuring and
several processes, each with seeds of its own, can share the work. Needs models/ and trajectories/ of ../shared/data
(CRYOSPHERE_SHARED_DATA).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bias_occupancy import HALVES, found_absent, lacking, separated
from bias_volumes import against_truth, compared_methods
from bias_work import Work, command, trained
from page import DOCS, write_block
from spec import load

from cryosphere.analysis.run import Run
from cryosphere.structures.ranges import residue_ranges
from cryosphere.training.moving_parts import MovingParts

DATA = Path(os.environ.get("CRYOSPHERE_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PAGE = "bias.md"
IMAGES = 20_000
SNRS = ("SNR 0.1", "SNR 0.01")
Measured = dict[str, Any]


def main() -> None:
    """Measure what was asked for, as far as it was not measured before, and write its block."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(BLOCKS))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=IMAGES)
    options = parser.parse_args()
    work = Work(options.folder.resolve(), DATA, options.images)
    text = BLOCKS[options.what](work, options.seeds)
    seeds = " ".join(map(str, options.seeds))
    write_block(
        f"bias-{options.what}", text, f"python benchmarks/bias.py {options.what} --folder DIR --seeds {seeds}", PAGE
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """In Markdown."""
    lines = [" | ".join(map(str, row)) for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _of_cost(found: Measured) -> list[str]:
    return [f"{found['seconds']:.0f}", f"{found['gigabytes']:.1f}"]


def run_of(work: Work, name: str, case: str, seed: int, *options: str, called: str = "run") -> tuple[Path, Measured]:
    """A run on a data set of experiments/, and what it took."""
    data_set = work.data_set(name, case, seed)

    def train() -> Measured:
        _, cost = trained(data_set, called, seed, *options)
        return {"seconds": cost.seconds, "gigabytes": cost.gigabytes}

    key = f"train {name} {case} {seed} {called}"
    if not (data_set / called).is_dir():
        work.forget(key)
    return data_set / called, work.measured(key, train)


def missing(work: Work, seeds: Sequence[int]) -> str:
    """The paper's B.2.4: residues that the model has and no image shows."""
    rows = []
    for case in SNRS:
        for seed in seeds:
            run, training = run_of(work, "missing-residues", case, seed)
            found = work.measured(f"missing {case} {seed}", partial(_support, run))
            figures = [found[key] for key in ("absent", "weak", "others_absent", "others_weak")]
            times = [f"{training['seconds']:.0f}", f"{found['seconds']:.0f}", f"{found['gigabytes']:.1f}"]
            rows.append([case, seed, *figures, f"{found['highest']:.2f}", *times])
    head = ["data", "seed", "of the 40 absent residues: told absent", "weak", "of the 966 others: told absent", "weak"]
    head += ["highest support of the 40", "training, s", "6 volumes and page, s", "GB"]
    shown = work.data_set("missing-residues", SNRS[0], seeds[0]) / "density"
    for picture in ("support", "correlation", "state_000"):
        shutil.copyfile(shown / f"{picture}.png", DOCS / "_static" / f"bias-{picture.replace('_', '-')}.png")
    return table(head, rows)


def _support(run: Path) -> Measured:
    folder = run.with_name("density")
    cost = command("volumes", run, "--outdir", folder, fresh=folder)
    residues = pd.read_csv(folder / "support.csv", keep_default_na=False)
    gone = lacking(residues)
    verdicts = residues["verdict"]
    return {
        "absent": int((verdicts[gone] == "absent").sum()),
        "weak": int((verdicts[gone] == "weak").sum()),
        "others_absent": int((verdicts[~gone] == "absent").sum()),
        "others_weak": int((verdicts[~gone] == "weak").sum()),
        "highest": float(residues["support"][gone].max()),
        "seconds": cost.seconds,
        "gigabytes": cost.gigabytes,
    }


def occupancy(work: Work, seeds: Sequence[int]) -> str:
    """Learned amplitudes, where residues are in no image or a part is in half of them."""
    rows = []
    for case in SNRS:
        for seed in seeds:
            run, cost = run_of(
                work, "missing-residues", case, seed, "--set", "occupancy.kind=global", called="occupied"
            )
            found = work.measured(f"occupancy {case} {seed}", partial(found_absent, run))
            rows.append([case, seed, found["low"], found["high"], *_of_cost(cost), found["wrong"]])
    shown = (
        work.data_set("missing-residues", SNRS[0], seeds[0]) / "occupied" / "analysis" / "pictures" / "occupancy.png"
    )
    shutil.copyfile(shown, DOCS / "_static" / "bias-occupancy.png")
    head = ["data", "seed", "of the 40 absent residues under 0.3", "of the 966 others over 0.8"]
    return table([*head, "training, s", "GB", "residues in neither"], rows) + "\n\n" + _halves_that_lack(work, seeds)


def _halves_that_lack(work: Work, seeds: Sequence[int]) -> str:
    rows = []
    for name, first, case, options in HALVES:
        called = "residual" if options else "run"
        for seed in seeds:
            data_set = work.half_without(first, case, seed)
            key = f"separated {first} {called} {case} {seed}"
            found = work.measured(key, partial(_separated, data_set, called, seed, options))
            rows.append([name, case, seed, *found.values()])
    head = ["half of the images lack", "data", "seed", "area under the ROC curve", "images told rightly at 0.5"]
    return table([*head, "mean occupancy where present", "where absent", "training, s", "GB"], rows)


def _separated(data_set: Path, called: str, seed: int, options: Sequence[str]) -> Measured:
    run, cost = trained(data_set, called, seed, "--set", "occupancy.kind=latent", *options)
    return separated(run) | {"seconds": f"{cost.seconds:.0f}", "gigabytes": f"{cost.gigabytes:.1f}"}


def null(work: Work, seeds: Sequence[int]) -> str:
    """Verdicts on images in which nothing moves."""
    rows = []
    for wrong in (False, True):
        for seed in seeds:
            data_set = work.still(seed)
            model = work.wrong_model(data_set, seed) if wrong else data_set / "model.cif"
            name = "wrong" if wrong else "right"
            found = work.measured(
                f"null {name} {seed}",
                lambda name=name, model=model, seed=seed, place=data_set: _validated(  # type: ignore[misc]
                    *trained(place, name, seed, model=model)[:1]
                ),
            )
            rows += _verdict_rows(f"{name} base", seed, found)
    return table(_VERDICT_HEAD, rows)


def opening(work: Work, seeds: Sequence[int]) -> str:
    """Verdicts on adenylate kinase, at three levels of noise."""
    rows = []
    for case in (*SNRS, "SNR 0.001"):
        for seed in seeds:
            run, _ = run_of(work, "adenylate-kinase", case, seed)
            found = work.measured(f"opening {case} {seed}", partial(_validated, run))
            rows += _verdict_rows(case, seed, found)
    shown = work.data_set("adenylate-kinase", SNRS[0], seeds[0]) / "validated-run" / "pictures" / "places.png"
    shutil.copyfile(shown, DOCS / "_static" / "bias-opening.png")
    return table(_VERDICT_HEAD, rows)


_VERDICT_HEAD = ["data", "seed", "verdict", "models correlate (99 % of chance)", "largest move, Å RMS"]
_VERDICT_HEAD += ["gain over others' places, nats", "over fading, nats", "`validate`, s", "GB", "motion"]


def _validated(run: Path) -> Measured:
    folder = run.with_name(f"validated-{run.name}")
    cost = command("validate", run, "--outdir", folder, fresh=folder)
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    return {"motions": verdict["motions"], "seconds": cost.seconds, "gigabytes": cost.gigabytes}


def _verdict_rows(name: str, seed: int, found: Measured) -> list[list[object]]:
    rows: list[list[object]] = []
    for one in found["motions"]:
        gains = [one[f"gain_over_{other}"] for other in ("exchanged", "composition")]
        figures = [f"{one['correlation']:.3f} ({one['null_99']:.3f})", f"{max(one['largest_amplitude']):.1f}"]
        figures += [f"{gain['nats']:+.3f} ± {gain['error']:.3f}" for gain in gains]
        rows.append([name, seed, one["verdict"], *figures, *_of_cost(found), one["name"]])
    return rows


def omitted(work: Work, seeds: Sequence[int]) -> str:
    """Whether the density of a segment comes back that a model was not told of."""
    rows = []
    for case in SNRS:
        for seed in seeds:
            run, _ = run_of(work, "adenylate-kinase", case, seed)
            found = work.measured(f"omitted {case} {seed}", partial(_omitted, run))
            figures = [f"{found['support']:.2f} ± {found['error']:.2f}"]
            figures += [f"{found[key]:.2f}" for key in ("elsewhere", "others")]
            rows.append([case, seed, " ".join(found["residues"]), *figures, found["verdict"], *_of_cost(found)])
    head = ["data", "seed", "hidden residues", "their support where they are", "where they are at the other end"]
    return table([*head, "support of all other residues", "verdict", "s, the halves' models being there", "GB"], rows)


def _omitted(run: Path) -> Measured:
    folder = run.with_name(f"validated-{run.name}")
    if not folder.is_dir():
        _validated(run)
    cost = command("validate", run, "--outdir", folder, "--omit-segment")
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    hidden: Measured = verdict["omitted_segment"]
    return hidden | {"seconds": cost.seconds, "gigabytes": cost.gigabytes}


def kernel(work: Work, seeds: Sequence[int]) -> str:
    """Kernel regression and the volume decoder against the true density; trained ten times as long for one seed."""
    rows = []
    for case in SNRS:
        for seed in seeds:
            run, _ = run_of(work, "adenylate-kinase", case, seed)
            for name, options in compared_methods(long=seed == seeds[0]).items():
                found = work.measured(
                    f"volumes {case} {seed} {name}",
                    partial(against_truth, run, options),
                )
                rows.append([case, seed, name, *(found[key] for key in ("mean", "half", "moving", "rate"))])
                rows[-1] += _of_cost(found)
    head = ["data", "seed", "volumes", "FSC with the truth, mean", "FSC 0.5 at, Å", "FSC around what moves, mean"]
    return table([*head, "images/s in training", "6 volumes and page, s", "GB"], rows)


_CALIBRATED = (  # a data set, options of training, and what the run is called
    ("adenylate-kinase", (), "run"),
    ("missing-residues", (), "run"),
    ("missing-residues", ("--set", "occupancy.kind=global"), "occupied"),
)


def calibration(work: Work, seeds: Sequence[int]) -> str:
    """How often the truth lies within the intervals that are told: median over the seeds, and range."""
    rows = []
    for name, options, called in _CALIBRATED:
        domains, learned = load(name, "cpu").domains, ", occupancies learned" if options else ""
        for case in SNRS:
            found = []
            for seed in seeds:
                run, _ = run_of(work, name, case, seed, *options, called=called)
                key = f"calibration {name}{' occupied' if options else ''} {case} {seed}"
                found.append(work.measured(key, partial(_coverage, run, domains)))
            cost = [str(round(np.median([one["seconds"] for one in found])))]
            cost.append(f"{max(one['gigabytes'] for one in found):.1f}")
            for figure, shares in found[0]["inside"].items():
                of_all = [[one["inside"][figure][k] for one in found] for k in range(len(shares))]
                rows.append([f"{name}, {case}{learned}", figure, *map(_range, of_all), *cost])
    return table(["data", "of", "within 68 %", "within 95 %", "`evaluate`, s", "GB"], rows)


def _range(shares: Sequence[float]) -> str:
    low, middle, high = (f"{100 * one:.0f}" for one in (min(shares), np.median(shares), max(shares)))
    return f"{middle} ({low}-{high}) %" if len(shares) > 1 else f"{middle} %"


def _coverage(run: Path, domains: Sequence[str]) -> Measured:
    named = [word for one in domains for word in ("--domain", one)]
    cost = command("evaluate", run, "--truth", run.parent / "truth.npz", *named, "--fsc-images", 0)
    said = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["calibration"]
    inside = {one["name"]: one["inside"] for one in said["coverages"]}
    return {"inside": inside, "seconds": cost.seconds, "gigabytes": cost.gigabytes}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def segments(work: Work, seeds: Sequence[int]) -> str:
    """The number of parts that `--segments auto` finds."""
    rows = []
    for name, case in (("toy", "one-sided"), ("toy", "two-sided"), ("adenylate-kinase", "SNR 0.1")):
        for seed in seeds:
            run, cost = run_of(work, name, case, seed, "--segments", "auto", called="auto")
            found = work.measured(f"parts {name} {case} {seed}", partial(_parts, run))
            rows.append([f"{name}, {case}", seed, *found.values(), *_of_cost(cost)])
    head = ["data", "seed", "moving parts", "segments", "of what motion explains they keep", "one part fewer would"]
    return table([*head, "residues of the parts", "training, s", "GB"], rows)


def _parts(run: Path) -> Measured:
    parts = MovingParts.load(run / "moving_parts.json")
    beads, membership = Run(run).model.atomic_model.beads, Run(run).segments
    part = np.zeros(membership.shape[1], dtype=np.int64)
    for number, some in enumerate(parts.parts):
        part[list(some)] = number
    ranges = residue_ranges(beads, part[membership.argmax(axis=1)])
    told = "; ".join(" ".join(one.words for one in ranges[number]) for number in range(len(parts.parts)))
    fewer = [merge.kept for merge in parts.merges if merge.parts == len(parts.parts) - 1]
    return {
        "parts": len(parts.parts),
        "segments": parts.segments,
        "kept": _percent(parts.kept),
        "fewer": _percent(fewer[0]) if fewer else "-",
        "residues": told,
    }


BLOCKS: dict[str, Callable[[Work, Sequence[int]], str]] = {
    one.__name__: one for one in (missing, occupancy, null, opening, omitted, kernel, calibration, segments)
}


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
