"""Correlation with the truth against minutes of training, from a checkpoint after every epoch and every minute.

python experiments/curve.py phytochrome "SNR 0.001, 25 segments" --size full --data FOLDER_WITH_models_AND_trajectories
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import run
import spec
import tables

from cryosphere.evaluation.comparison import evenly
from cryosphere.evaluation.domains import domains_of
from cryosphere.evaluation.evaluate import evaluate
from cryosphere.evaluation.figures import figures_of
from cryosphere.evaluation.measures import correlation
from cryosphere.files import write_text
from cryosphere.simulation.truth import load_truth
from cryosphere.training.checkpoints import load_latest
from cryosphere.training.trained import TrainedModel

log = logging.getLogger("experiments")

IMAGES = 5000  # looked at per checkpoint
KEEP = ("training.keep_checkpoints=100000", "training.checkpoint_minutes=1")


def main() -> None:
    """Train once, look at every checkpoint, keep the curve and draw it."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    experiment = spec.load(options.name, options.size)
    case = next((case for case in experiment.cases if case.name == options.case), None)
    if case is None:
        raise SystemExit(f"no such case: {options.case}")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(options.workdir or temporary)
        place.mkdir(parents=True, exist_ok=True)
        folder = run.images_of(case, options.seed, options.data.resolve(), place)
        with run.trained_on(folder, replace(case, train=[*case.train, *KEEP]), options.seed) as trained:
            record = curve(experiment, trained, folder / "truth.npz")
    log.info("%s, %s: %s", experiment.name, case.name, record)
    path = spec.RESULTS / "curves.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    command = f"python experiments/curve.py {experiment.name} {case.name!r} --size {experiment.size}"
    known[f"{experiment.name}, {experiment.size}, {case.name}"] = record | run.origin(experiment) | {"command": command}
    write_text(path, json.dumps(known, indent=1, sort_keys=True) + "\n")
    tables.write_all()


def curve(experiment: spec.Experiment, trained: Path, truth: Path) -> dict[str, Any]:
    """Minutes and correlations of all checkpoints, which are used up, and the oracle's correlation."""
    looked_at = {"structure_images": 100, **experiment.looked_at, "fsc_images": 0}
    found = evaluate(trained, truth, domains=experiment.domains, **looked_at)
    known = load_truth(truth)
    figure = next(f for f in figures_of(known, domains_of(known, experiment.domains)) if f.name == experiment.figure)
    points = []
    while (newest := load_latest(trained / "checkpoints")) is not None:
        model = TrainedModel.load(trained)
        rows = evenly(len(model.table), IMAGES)
        answered = figure.of(model.bead_positions(model.encode(rows).mean))
        value = correlation(answered, figure.of(known.positions(rows)))
        points.append((round(newest.facts["state"]["seconds"] / 60, 2), round(value, 4)))
        newest.path.unlink()
    oracle = next(a.oracle_correlation for a in found.agreements if a.name == experiment.figure)
    assert oracle is not None  # it was asked
    return {"figure": experiment.figure, "oracle": round(oracle, 4), "points": points[::-1]}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(path.stem for path in spec.HERE.glob("*.yaml")))
    parser.add_argument("case")
    parser.add_argument("--size", choices=["cpu", "full"], default="cpu")
    parser.add_argument("--data", type=Path, required=True, help="folder with the models and trajectories")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, help="keep the simulated images there, for the next time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
