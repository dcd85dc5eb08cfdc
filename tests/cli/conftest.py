"""A small simulated data set, made once, and commands run in this process as a user would run them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import starfile

from cryosphere.cli.main import run
from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.write import write_model
from cryosphere.training.configure import configure
from cryosphere.training.train import train

IMAGES, BOX, PIXEL_SIZE = 60, 32, 5.0


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code, what it said, and the files that were not there before."""

    code: int
    said: str
    left: list[str]

    def refuses(self, *words: object) -> None:
        """Exit code 2, one message with all these words, and nothing left behind."""
        assert "Traceback" not in self.said
        assert self.code == 2, self.said
        messages = re.split(r"^cryosphere: ", self.said, flags=re.MULTILINE)
        assert len(messages) == 2, self.said
        for word in words:
            assert str(word) in messages[1]
        assert self.left == []

    def succeeds(self) -> None:
        assert self.code == 0, self.said


@dataclass(frozen=True)
class Shell:
    """Runs command lines in this process and watches a folder for what they leave."""

    capsys: pytest.CaptureFixture[str]
    watched: Path

    def __call__(self, *arguments: object) -> Outcome:
        before = set(self.watched.rglob("*"))
        self.capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        left = sorted(str(path.relative_to(self.watched)) for path in set(self.watched.rglob("*")) - before)
        return Outcome(code, self.capsys.readouterr().err, left)


@dataclass(frozen=True)
class Place:
    """A folder with a data set of its own that may be damaged, and a way to run commands on it."""

    folder: Path
    cryosphere: Shell

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "a"

    def train(self, *extra: object, **replaced: object) -> Outcome:
        """`cryosphere train` as cheap as can be; named options replace or, being None, drop the usual ones."""
        options: dict[str, object] = {
            "particles": self / "particles.star",
            "model": self / "model.cif",
            "outdir": self.run,
            "epochs": 1,
            "segments": 2,
            **replaced,
        }
        given = [x for name, value in options.items() if value is not None for x in (f"--{name}", value)]
        return self.cryosphere("train", *extra, *given)

    def edit_star(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the tables of particles.star."""
        path = self / "particles.star"
        tables = starfile.read(path, always_dict=True)
        change(tables)
        starfile.write(tables, path, overwrite=True)

    def edit_stack(self, change: Callable[[Any], None]) -> None:
        """Change the images of particles.mrcs in place."""
        with mrcfile.open(self / "particles.mrcs", mode="r+") as stack:
            change(stack.data)

    def replace_stack(self, *shape: int) -> None:
        """Noise of another shape instead of the images."""
        noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        with mrcfile.new(self / "particles.mrcs", overwrite=True) as stack:
            stack.set_data(noise)
            stack.set_image_stack()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images of 32 pixels at 5 Å of a protein of 100 residues whose hinge opens by up to 50 degrees."""
    folder = tmp_path_factory.mktemp("data")
    protein = two_domain_protein(0, (60, 40))
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(50.0, 20),
        images=ImageSettings(count=IMAGES, box=BOX, pixel_size=PIXEL_SIZE, snr=0.5, shift=5.0),
    )
    simulate(config, folder / "simulated")
    return folder / "simulated"


@pytest.fixture
def place(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    """A copy of the data set."""
    folder = tmp_path / "project"
    shutil.copytree(data, folder)
    return Place(folder, Shell(capsys, tmp_path))


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished run of three epochs in runs/a and its cache; only to be copied."""
    folder = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(data, folder)
    settings = configure(particles=folder / "particles.star", model=folder / "model.cif", epochs=3, segments=2)
    train(settings, folder / "runs" / "a")
    return folder


@pytest.fixture
def project(trained: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    """The trained project itself, at its own place (paths in a run are absolute), restored from a copy afterwards."""
    kept = trained.with_name("kept")
    shutil.copytree(trained, kept)
    yield Place(trained, Shell(capsys, trained.parent))
    shutil.rmtree(trained)
    kept.rename(trained)
