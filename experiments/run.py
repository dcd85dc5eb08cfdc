"""Run an experiment: simulate, train, compare with the truth, and keep what was measured.

python experiments/run.py toy --size cpu --data FOLDER_WITH_models_AND_trajectories
"""

from __future__ import annotations

import argparse
import datetime as dt
import fcntl
import json
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import spec
import tables
import torch

import cryosphere
from cryosphere.evaluation.evaluate import Evaluation, evaluate
from cryosphere.files import write_text
from cryosphere.settings import validate
from cryosphere.simulation.config import SimulationConfig
from cryosphere.simulation.simulate import simulate
from cryosphere.training.configure import configure
from cryosphere.training.train import train

log = logging.getLogger("experiments")


def main() -> None:
    """Run the cases and seeds asked for that have not been measured yet."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    experiment = spec.load(options.name, options.size)
    unknown = set(options.cases or ()) - {case.name for case in experiment.cases}
    if unknown:
        raise SystemExit(f"no such case: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(options.workdir or temporary)
        for seed in options.seeds:
            for case in experiment.cases:
                done = str(seed) in experiment.measured().get(case.name, {})
                if (options.cases and case.name not in options.cases) or (done and not options.again):
                    continue
                keep(experiment, case.name, seed, measure(experiment, case, seed, options.data, place))
    tables.write_all()


def measure(experiment: spec.Experiment, case: spec.Case, seed: int, data: Path, place: Path) -> dict[str, Any]:
    """Simulate (unless these images are there already), train, evaluate."""
    began = time.monotonic()
    folder = images_of(case, seed, data, place)
    simulated = time.monotonic()
    with trained_on(folder, case, seed) as run:
        trained = time.monotonic()
        found = evaluate(run, folder / "truth.npz", domains=experiment.domains, **experiment.looked_at)
        gains = _gains(run)
    seconds = {"simulation": simulated - began, "training": trained - simulated}
    seconds["evaluation"] = time.monotonic() - trained
    record = {**_summary(found), "gains": gains, "seconds": {name: round(value, 1) for name, value in seconds.items()}}
    _say(experiment, case, seed, record)
    return record | origin(experiment) | {"settings": experiment.fingerprint(case)}


def images_of(case: spec.Case, seed: int, data: Path, place: Path) -> Path:
    """The folder of the case's simulated images in `place`; they are made if they are not there."""
    folder = place / case.data_name(seed)
    config = validate(SimulationConfig, case.with_data(data, seed), origin=f"{case.name}, seed {seed}")
    with _alone(place / f"{folder.name}.lock"):
        if not (folder / "particles.star").is_file():
            simulate(config, folder)
    return folder


@contextmanager
def trained_on(folder: Path, case: spec.Case, seed: int) -> Iterator[Path]:
    """A finished training on these images, which is removed afterwards."""
    place = Path(tempfile.mkdtemp(prefix="run-", dir=folder.parent))
    try:
        images, model = [folder / "particles.star"], folder / "model.cif"
        settings = configure(overrides=case.train, particles=images, model=model, seed=seed)
        if train(settings, place / "run") != "finished":
            raise SystemExit("stopped: nothing is kept of this training")
        yield place / "run"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _gains(run: Path) -> dict[str, float | None]:
    """Nats per image over the best single structure: at the end, of held-out and training images, and the highest."""
    metrics = pd.read_csv(run / "metrics.csv")
    held_out, trained = metrics["validation_gain"], metrics["train_gain"]
    values = {"held_out": held_out.iloc[-1], "training": trained.iloc[-1], "best_held_out": held_out.max()}
    return {name: _rounded(float(value)) for name, value in values.items()}


def _summary(found: Evaluation) -> dict[str, Any]:
    values = asdict(found)
    for name in ("segments", "covers"):
        values.pop(name)
    values["segments"] = ["; ".join(segment.ranges) for segment in found.segments]
    if values["fsc"] is not None:
        values["fsc"] = _without_curves(values["fsc"])
    rounded: dict[str, Any] = _rounded(values)
    return rounded


def _without_curves(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_curves(v) for k, v in value.items() if not (isinstance(v, list | tuple) and len(v) > 4)}
    return value


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return None if value != value else float(f"{value:.5g}")
    return value


def origin(experiment: spec.Experiment) -> dict[str, Any]:
    """When, where and with what a figure was measured."""
    threads = torch.get_num_threads()
    machine = f"{os.cpu_count()} {platform.machine()} cores, threads: {threads}"
    return {
        "date": f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}",
        "version": f"{cryosphere.__version__} ({_commit()})",
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else machine,
        "command": f"python experiments/run.py {shlex.quote(experiment.name)} --size {experiment.size}",
    }


def _commit() -> str:
    """The commit that the code was at; with a plus sign if the code was changed, whatever was measured since."""
    git = ["git", "-C", str(spec.HERE.parent)]
    name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if name.returncode:
        return "no repository"
    code = ["src", "experiments", ":!experiments/results"]
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *code], check=False).returncode
    return name.stdout.strip() + ("+" if changed else "")


def keep(experiment: spec.Experiment, case: str, seed: int, record: dict[str, Any]) -> None:
    """Add a record to those on disk; several processes may do so at once."""
    experiment.results.parent.mkdir(exist_ok=True)
    with _alone(experiment.results.parent / ".lock"):
        measured = experiment.measured()
        measured.setdefault(case, {})[str(seed)] = record
        write_text(experiment.results, json.dumps(measured, indent=1, sort_keys=True) + "\n")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other process is between its beginning and its end at the same time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(experiment: spec.Experiment, case: spec.Case, seed: int, record: dict[str, Any]) -> None:
    figure = next(a for a in record["agreements"] if a["name"] == experiment.figure)
    log.info(
        "%s, %s, seed %d: %s %s (oracle %s), RMSD %.2f Å of %.2f, %.0f s of training; segments %s",
        *(experiment.name, case.name, seed, experiment.figure, figure["correlation"], figure["oracle_correlation"]),
        *(record["deviation"], record["base_deviation"], record["seconds"]["training"], " | ".join(record["segments"])),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(path.stem for path in spec.HERE.glob("*.yaml")))
    parser.add_argument("--size", choices=["cpu", "full"], default="cpu")
    parser.add_argument("--data", type=Path, required=True, help="folder with the models and trajectories")
    parser.add_argument("--cases", nargs="+", help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, help="keep the simulated images there, for the next time")
    parser.add_argument("--again", action="store_true", help="also what has been measured already")
    options = parser.parse_args()
    if options.workdir is not None:
        options.workdir.mkdir(parents=True, exist_ok=True)
    options.data = options.data.resolve()
    return options


if __name__ == "__main__":
    main()
