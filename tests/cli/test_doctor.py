"""`cryosphere doctor`, and the short look that `cryosphere train` takes before it begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cryosphere.cli.main import run
from cryosphere.simulation.config import DistributedCtf, ImageSettings, SimulationConfig
from cryosphere.simulation.faults import plant
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.write import write_model

SHORT = ["--epochs", "1", "--batch-size", "32", "--segments", "2", "--set", "encoder.hidden=[8]"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sound")
    protein = two_domain_protein(0)
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(40.0, 20),
        images=ImageSettings(count=200, box=40, pixel_size=3.5, snr=0.2, shift=6.0),
        ctf=DistributedCtf(kind="distribution"),
    )
    done = simulate(config, folder / "data")
    return done.particles, done.model


@dataclass(frozen=True)
class Said:
    """What a command ended with and said."""

    code: int
    out: str
    err: str


@pytest.fixture
def cryosphere(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def command(*words: object) -> Said:
        capsys.readouterr()
        code = run([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return command


@pytest.fixture
def mirrored(sound: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    return plant("mirrored hand", *sound, tmp_path / "mirrored", seed=0)


def test_a_sound_set_ends_with_0_and_a_table(cryosphere: Callable[..., Said], sound: tuple[Path, Path]):
    said = cryosphere("doctor", "--particles", sound[0], "--model", sound[1])
    assert said.code == 0, said.err
    assert "Nothing is wrong" in said.out


def test_a_fault_ends_with_3_and_its_mend(cryosphere: Callable[..., Said], mirrored: tuple[Path, Path]):
    said = cryosphere("doctor", "--particles", mirrored[0], "--model", mirrored[1])
    assert said.code == 3
    assert "wrong hand" in said.out


def test_json_is_all_that_standard_output_holds(
    cryosphere: Callable[..., Said], mirrored: tuple[Path, Path], tmp_path: Path
):
    page = tmp_path / "page"
    said = cryosphere("doctor", "--particles", mirrored[0], "--model", mirrored[1], "--json", "--outdir", page)
    assert said.code == 3
    found = json.loads(said.out)
    assert found["verdict"] == "fault"
    assert found["faults"] == ["hand"]
    assert (page / "doctor.html").is_file()


def test_particles_without_poses_end_with_2(
    cryosphere: Callable[..., Said], sound: tuple[Path, Path], shared_data: Path
):
    star = shared_data / "relion" / "cryodrgn" / "empiar_10076_7.star"
    said = cryosphere("doctor", "--particles", star, "--model", sound[1])
    assert said.code == 2
    assert "rlnAngleRot" in said.err
    assert said.out == ""


def test_training_does_not_begin_with_a_certain_fault(
    cryosphere: Callable[..., Said], mirrored: tuple[Path, Path], tmp_path: Path
):
    place = tmp_path / "run"
    said = cryosphere("train", "--particles", mirrored[0], "--model", mirrored[1], "--outdir", place, *SHORT)
    assert said.code == 2
    assert "mirror image" in said.err
    assert "--no-check" in said.err
    assert not place.exists()


@pytest.mark.parametrize("how", [["--no-check"], ["--set", "particles.check=warn"], ["--set", "particles.check=off"]])
def test_training_begins_all_the_same_if_told_to(
    how: list[str], cryosphere: Callable[..., Said], mirrored: tuple[Path, Path], tmp_path: Path
):
    place = tmp_path / "run"
    said = cryosphere("train", "--particles", mirrored[0], "--model", mirrored[1], "--outdir", place, *SHORT, *how)
    assert said.code == 0, said.err
    assert ("mirror image" in said.err) == ("warn" in how[-1])


def test_training_begins_where_nothing_is_wrong(
    cryosphere: Callable[..., Said], sound: tuple[Path, Path], tmp_path: Path
):
    place = tmp_path / "run"
    said = cryosphere("train", "--particles", sound[0], "--model", sound[1], "--outdir", place, *SHORT)
    assert said.code == 0, said.err
