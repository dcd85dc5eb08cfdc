"""The whole of it on simulated images: a hinge that opens is supported, and no motion is where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.motion_config import AbsentResidues, DiscreteAngles
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model
from cryosphere.training.configure import configure
from cryosphere.training.train import train
from cryosphere.validation.validate import ValidationSettings, validate

SMALL = ("encoder.hidden=[64]", "encoder.latent_dim=2", "encoder.grid=10", "decoder.hidden=[32]", "particles.check=off")
pytestmark = pytest.mark.slow


def images(folder: Path, *, moving: bool, lacking: float = 0.0) -> Path:
    """1200 images at SNR 0.3 of a protein whose second domain turns by up to 40 degrees, or does not.

    A part `lacking` of the images does not have that domain at all.
    """
    protein = two_domain_protein(0, (60, 40))
    folder.mkdir(parents=True)
    write_model(folder / "protein.cif", protein.model)
    motion = protein.opening(40.0, 60)
    if not moving:
        motion = motion.model_copy(update={"angles": DiscreteAngles(kind="discrete", angles_degrees=(0.0,))})
    settings = ImageSettings(count=1200, box=32, pixel_size=4.0, snr=0.3, shift=0.0)
    absent = (AbsentResidues(residues=motion.domains[0].residues, fraction=lacking),) if lacking else ()
    config = SimulationConfig(model=folder / "protein.cif", motion=motion, images=settings, absent=absent)
    simulate(config, folder / "data")
    return folder / "data"


def deform(path: Path, target: Path, size: float) -> None:
    """Move the atoms by a smooth field of `size` Å RMS that no few rigid bodies can follow."""
    model = read_model(path)
    generator = np.random.default_rng(1)
    waves, directions = generator.normal(scale=2 * np.pi / 40, size=(12, 3)), generator.normal(size=(12, 3))
    field = np.sin(model.positions @ waves.T + np.arange(12)) @ directions
    field *= size / np.sqrt((field**2).sum(axis=1).mean())
    model.with_positions(model.positions + field).make_mmcif_document().write_file(str(target))


def verdict(data: Path, model: Path, folder: Path) -> dict:
    train(
        configure(particles=data / "particles.star", model=model, epochs=1, segments=3, overrides=SMALL), folder / "run"
    )
    validate(folder / "run", folder / "v", settings=ValidationSettings(epochs=15))
    return json.loads((folder / "v" / "verdict.json").read_text())


def test_a_domain_that_opens_is_reproduced(tmp_path):
    data = images(tmp_path / "moving", moving=True)
    found = verdict(data, data / "model.cif", tmp_path)
    first = found["motions"][0]
    assert first["verdict"] == "reproduced", first
    assert first["component"] is None or first["component"].startswith("pc")
    assert found["same_images"]["displacement_correlation_split_data"] > 0.3


@pytest.mark.parametrize("wrong", [0.0, 4.0])
def test_still_images_support_no_motion_even_where_the_base_structure_is_wrong(tmp_path, wrong):
    data = images(tmp_path / "still", moving=False)
    model = data / "model.cif"
    if wrong:
        model = tmp_path / "wrong.cif"
        deform(data / "model.cif", model, wrong)
    found = verdict(data, model, tmp_path)
    assert {motion["verdict"] for motion in found["motions"]} == {"not supported"}, found["motions"]


def test_a_domain_that_half_of_the_images_lack_is_no_motion(tmp_path):
    """The models hide the domain by moving it: both alike, and better than standing still."""
    data = images(tmp_path / "half", moving=False, lacking=0.5)
    found = verdict(data, data / "model.cif", tmp_path)
    assert "reproduced" not in {motion["verdict"] for motion in found["motions"]}, found["motions"]
    first = found["motions"][0]
    assert first["gain_over_held"]["nats"] > 5 * first["gain_over_held"]["error"]
    assert first["gain_over_composition"]["nats"] < -2 * first["gain_over_composition"]["error"]
    assert first["reasons"][0] == "a part that comes and goes explains the images better"
