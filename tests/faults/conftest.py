"""Commands that can be killed at any moment, a small data set for them, and what must come out all the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.write import write_model

IMAGES = 240
SMALL = (
    "images.contrast=white",
    "encoder.hidden=[16]",
    "encoder.latent_dim=2",
    "encoder.grid=6",
    "decoder.hidden=[16]",
)


@dataclass(frozen=True)
class Started:
    """A command that runs."""

    nursery: Nursery
    process: int
    words: Future[str]

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)

    def wait(self) -> int:
        return self.nursery.ask({"wait": self.process})

    @property
    def said(self) -> str:
        """All that it said; waits for its end."""
        return self.words.result(timeout=300)


class Nursery:
    """Starts `cryosphere` commands as processes of their own, at once (tests/faults/nursery.py)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self.listeners = ThreadPoolExecutor()
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | one_thread,
        )

    def ask(self, order: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, *arguments: object, **how: object) -> Started:
        """how: see tests/faults/nursery.py."""
        self.count += 1
        pipe = self.folder / f"{self.count}"  # no file: that would fall under the limit on files
        os.mkfifo(pipe)
        words = self.listeners.submit(pipe.read_text)
        return Started(self, self.ask({"run": list(map(str, arguments)), "log": str(pipe), **how}), words)

    def run(self, *arguments: object, **how: object) -> tuple[int, str]:
        """Exit code, and what was said."""
        started = self.start(*arguments, **how)
        return started.wait(), started.said

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass(frozen=True)
class Bench:
    """A data set, a folder for runs, and commands on them."""

    data: Path
    runs: Path
    nursery: Nursery

    @property
    def run(self) -> Path:
        return self.runs / "a"

    def training(self, *extra: object, epochs: int = 4) -> list[object]:
        """A command line that begins a run in `run`."""
        inputs = ["--particles", self.data / "particles.star", "--model", self.data / "model.cif"]
        sizes = ["--outdir", self.run, "--epochs", epochs, "--segments", 2, "--batch-size", 16, "--device", "cpu"]
        settings = [word for setting in SMALL for word in ("--set", setting)]
        return ["train", *inputs, *sizes, *settings, *extra]

    def resuming(self, *extra: object) -> list[object]:
        """A command line that goes on with it."""
        return ["train", "--outdir", self.run, "--resume", *extra]

    def begin_or_resume(self, *extra: object, epochs: int = 4) -> list[object]:
        """What a user would type, seeing whether there is a run."""
        return self.resuming(*extra) if (self.run / "run.json").exists() else self.training(*extra, epochs=epochs)

    def left_over(self) -> list[str]:
        """Hidden files: nothing but what was not cleared away."""
        return sorted(str(path.relative_to(self.runs)) for path in self.runs.rglob(".*"))


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    made = Nursery(tmp_path_factory.mktemp("logs"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 images of 32 pixels at 5 Å of a protein of 100 residues whose hinge opens by up to 60 degrees."""
    folder = tmp_path_factory.mktemp("data")
    protein = two_domain_protein(0, (60, 40))
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(60.0, 20),
        images=ImageSettings(count=IMAGES, box=32, pixel_size=5.0, snr=1.0, shift=4.0),
    )
    simulate(config, folder / "simulated")
    return folder / "simulated"


@pytest.fixture
def bench(data: Path, nursery: Nursery, tmp_path: Path) -> Bench:
    """An empty folder for runs."""
    (tmp_path / "runs").mkdir()
    return Bench(data, tmp_path / "runs", nursery)


@pytest.fixture(scope="session")
def undisturbed(data: Path, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A finished run that nothing has happened to; only to be copied and compared with."""
    made = Bench(data, tmp_path_factory.mktemp("undisturbed"), nursery)
    code, said = nursery.run(*made.training())
    assert code == 0, said
    return made


@pytest.fixture
def finished(undisturbed: Bench, bench: Bench) -> Bench:
    """A copy of the finished run, to do something to."""
    shutil.rmtree(bench.runs)
    shutil.copytree(undisturbed.runs, bench.runs)
    return bench


def wait_for(condition: Any, started: Started, seconds: float = 60.0) -> None:
    """Until something is so; fails if the command ends before."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert not started.words.done(), started.said
        time.sleep(0.005)
