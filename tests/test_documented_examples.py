"""Commands that the documentation shows do what it says, on simulated data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cryosphere.cli.main import run
from cryosphere.simulation.config import DistributedCtf, ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.write import write_model

DOCS = Path(__file__).resolve().parents[1] / "docs"
EXAMPLE = re.compile(r"<!-- example: (\d+) -->\n```\n(.*?)```", re.DOTALL)
SHORTER = (
    "--epochs 1 --batch-size 64 --set encoder.hidden=[16]"  # added to `cryosphere train`: its length is not tested
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small data set, where commands are typed."""
    protein = two_domain_protein(0)
    write_model(tmp_path / "protein.cif", protein.model)
    config = SimulationConfig(
        model=tmp_path / "protein.cif",
        motion=protein.opening(30.0, 20),
        images=ImageSettings(count=400, box=40, pixel_size=3.5, snr=0.3, shift=5.0),
        ctf=DistributedCtf(kind="distribution"),
    )
    simulate(config, tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    return tmp_path / "data"


def type_examples(page: str, least: int) -> None:
    """Run the page's commands one after the other; each must end with the exit code that the page's source names."""
    examples = EXAMPLE.findall((DOCS / page).read_text(encoding="utf-8"))
    assert len(examples) >= least
    for code, lines in examples:
        for line in lines.strip().splitlines():
            words = line.split()
            assert words[0] == "cryosphere"
            more = SHORTER.split() if words[1] == "train" else []
            assert run([*words[1:], *more]) == int(code), line


def made_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.slow
def test_the_commands_of_the_page_before_the_run(project: Path):
    type_examples("before-the-run.md", 5)
    expected = {"ready/model.cif", "ready/config.yaml", "checked/doctor.html", "consensus/map.mrc", "consensus/fsc.csv"}
    assert expected | {"placed.cif", "model.mrc", "placed.mrc", "run/config.yaml"} <= made_in(project)


@pytest.mark.slow
def test_the_commands_of_the_page_after_the_run(project: Path):
    type_examples("bias.md", 1)
    expected = {"density/volume_000.mrc", "density/volume_001.mrc", "density/support.csv", "density/bias.html"}
    assert expected | {"validated/verdict.json", "validated/validation.html"} <= made_in(project)
