"""Data sets and measured commands for benchmarks/bias.py: simulated once, run once, kept in a folder."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryosphere.files import write_text
from cryosphere.settings import validate
from cryosphere.simulation.config import SimulationConfig
from cryosphere.simulation.jitter import elastic_modes
from cryosphere.simulation.motion_config import JitterSettings
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))
import spec

WRONG_BY = 4.0  # Å RMS, of the base structure that the second null case is given


@dataclass(frozen=True)
class Work:
    """Where data sets and results lie, and what was measured already.

    data: the folder with models/ and trajectories/. images: how many each set has.
    """

    folder: Path
    data: Path
    images: int

    def data_set(self, name: str, case: str, seed: int) -> Path:
        """A data set of experiments/, simulated if it is not there."""
        chosen = _case(name, case)
        return self._simulated(f"{name} {case}", seed, chosen.with_data(self.data, seed))

    def half_without(self, first: int, case: str, seed: int) -> Path:
        """The phytochrome moving, half of whose images lack the residues of chain B from `first` on."""
        chosen = _case("missing-residues", case)
        absent = {"absent": [{"residues": [{"chain": "B", "first": first}], "fraction": 0.5}]}
        return self._simulated(f"half without {first} {case}", seed, chosen.with_data(self.data, seed) | absent)

    def still(self, seed: int) -> Path:
        """Adenylate kinase's closed structure in all images, at SNR 0.1."""
        chosen = spec.load("adenylate-kinase", "cpu").cases[0].with_data(self.data, seed)
        motion = {
            "kind": "hinge",
            "domains": [{"residues": [{"chain": "A", "first": 122, "last": 159}], "axis": [0, 0, 1]}],
            "angles": {"kind": "discrete", "angles_degrees": [0.0]},
        }
        model = self._base_of(chosen["motion"]["topology"])
        return self._simulated("still", seed, chosen | {"motion": motion, "model": str(model), "seed": seed})

    def wrong_model(self, data_set: Path, seed: int) -> Path:
        """The data set's model bent along its softest modes by 4 Å RMS."""
        path = data_set / "wrong.cif"
        if not path.is_file():
            model = read_model(data_set / "model.cif")
            modes = elastic_modes(model.beads.positions, JitterSettings(modes=10))
            amplitudes = np.random.default_rng([seed, 4]).standard_normal(10) / np.sqrt(modes.eigenvalues)
            moves = np.tensordot(amplitudes, modes.shapes, axes=1)
            moves *= WRONG_BY / np.sqrt(np.square(moves).sum(-1).mean())
            write_model(path, model, model.positions + moves[model.atom_bead])
        return path

    def _base_of(self, topology: str) -> Path:
        """Adenylate kinase's closed structure with a chain name, which the simulation's hinge needs."""
        path = self.folder / "closed.cif"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            model = read_model(Path(topology))
            for chain in model.structure[0]:
                chain.name = chain.name or "A"
            write_model(path, model)
        return path

    def _simulated(self, name: str, seed: int, settings: dict[str, Any]) -> Path:
        folder = self.folder / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
        if not (folder / "particles.star").is_file():
            settings["images"]["count"] = self.images
            simulate(validate(SimulationConfig, settings, origin=name), folder)
        return folder

    def measured(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` measures, or what it measured before under this key."""
        path = self._record(key)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(make(), indent=1))
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        print(f"{key}: {found}", flush=True)
        return found

    def forget(self, key: str) -> None:
        """Measure this anew when it is asked for next."""
        self._record(key).unlink(missing_ok=True)

    def _record(self, key: str) -> Path:
        return self.folder / "measured" / f"{key.replace(' ', '-').replace(',', '')}.json"


def _case(name: str, case: str) -> spec.Case:
    return next(one for one in spec.load(name, "cpu").cases if one.name == case)


@dataclass(frozen=True)
class Cost:
    """Of one command."""

    seconds: float
    gigabytes: float  # resident at most
    said: str = ""  # its log


def command(*words: object, fresh: Path | None = None) -> Cost:
    """Run `cryosphere` in a process of its own; `fresh`: a folder that must not exist before."""
    if fresh is not None:
        shutil.rmtree(fresh, ignore_errors=True)
    line = [sys.executable, "-m", "cryosphere", *map(str, words)]
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603
        line, env=os.environ | {"COLUMNS": "200"}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(line)} ended with {os.waitstatus_to_exitcode(status)}:\n{said[-3000:]}")
    return Cost(time.monotonic() - began, _resident(usage), said)


def _resident(usage: resource.struct_rusage) -> float:
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return kilobytes * 1024 / 1e9


def trained(data_set: Path, name: str, seed: int, *options: object, model: Path | None = None) -> tuple[Path, Cost]:
    """A run with default settings but for the options, in the data set's folder."""
    run = data_set / name
    model = model or data_set / "model.cif"
    words = ("train", "--particles", data_set / "particles.star", "--model", model, "--outdir", run, "--seed", seed)
    return run, command(*words, *options, fresh=run)
