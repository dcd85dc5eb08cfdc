"""An experiment as its YAML file describes it: the simulation, the settings that training is given, what is tabled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosphere.settings import read_yaml

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
_PATHS = (("model",), ("motion", "trajectory"), ("motion", "topology"), ("motion", "start"), ("motion", "end"))


@dataclass(frozen=True)
class Case:
    """One row of a table: a simulation and how it is learned. Seeds repeat it."""

    name: str
    simulation: dict[str, Any]
    train: list[str]  # settings as a.b=value; none: the defaults

    def with_data(self, folder: Path, seed: int) -> dict[str, Any]:
        """The simulation's settings with paths in `folder` and a seed."""
        values: dict[str, Any] = json.loads(json.dumps(self.simulation)) | {"seed": seed}
        for path in _PATHS:
            place = values
            for key in path[:-1]:
                place = place.get(key, {})
            if path[-1] in place:
                place[path[-1]] = str(folder / place[path[-1]])
        return values

    def data_name(self, seed: int) -> str:
        """A folder name that only equal simulations share."""
        text = json.dumps([self.simulation, seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Experiment:
    """A file of this folder, for one of its sizes."""

    name: str
    size: str
    title: str
    domains: list[str]
    figure: str
    looked_at: dict[str, Any]  # how many images by what is costly to compare; see `evaluate`
    cases: list[Case]
    paper: dict[str, dict[str, Any]]

    @property
    def results(self) -> Path:
        """Where what was measured is kept."""
        return RESULTS / f"{self.name}-{self.size}.json"

    def measured(self) -> dict[str, dict[str, Any]]:
        """What was measured, by case and seed; records of other settings than the present ones do not count."""
        known = json.loads(self.results.read_text(encoding="utf-8")) if self.results.is_file() else {}
        now = {case.name: self.fingerprint(case) for case in self.cases}
        return {
            case: {seed: record for seed, record in seeds.items() if record["settings"] == now[case]}
            for case, seeds in known.items()
            if case in now
        }

    def fingerprint(self, case: Case) -> str:
        """Of everything in the files that decides what is measured."""
        text = json.dumps([case.simulation, case.train, self.domains, self.looked_at], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def sizes(name: str) -> list[str]:
    """The sizes that the experiment called `name` has."""
    return list(read_yaml(HERE / f"{name}.yaml")["sizes"])


def load(name: str, size: str) -> Experiment:
    """The experiment called `name`, in the size "cpu" or "full"."""
    values = read_yaml(HERE / f"{name}.yaml")
    if size not in values["sizes"]:
        raise SystemExit(f"{name} has no size {size!r}, only {', '.join(values['sizes'])}")
    sized = values["sizes"][size] or {}
    common: dict[str, Any] = {"model": values["model"]} if "model" in values else {}
    for part in (values.get("simulation"), sized.get("simulation")):
        common = merged(common, part or {})
    train = [*values.get("train", []), *sized.get("train", [])]
    variants = values["cases"]
    if isinstance(variants, str):  # those of another experiment
        theirs = read_yaml(HERE / f"{variants}.yaml")["cases"]
        variants = {case: theirs[case] for case in values.get("only", theirs)}
    cases = [
        Case(case, merged(common, own.get("simulation", {})), [*train, *own.get("train", [])])
        for case, own in variants.items()
    ]
    looked_at = {"fsc_images": 50} | values.get("looked_at", {})
    told = (values["title"], values["domains"], values["figure"], looked_at)
    return Experiment(name, size, *told, cases, values.get("paper", {}))


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with those of `over` on top; a choice of another `kind` replaces the whole group."""
    result = dict(base)
    for key, value in over.items():
        known = result.get(key)
        result[key] = value
        if isinstance(value, dict) and isinstance(known, dict):
            same = value.get("kind", known.get("kind")) == known.get("kind")
            result[key] = merged(known, value) if same else value
    return result
