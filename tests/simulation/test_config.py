"""The simulation's configuration file: defaults, paths, and what it says about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryosphere.errors import ConfigError
from cryosphere.simulation.config import load_simulation

HINGE = """
model: protein.pdb
motion:
  kind: hinge
  domains:
    - residues: [{chain: B, first: 599, last: 755}]
      axis: [0, 1, 0]
  angles: {kind: normal_mixture, means_degrees: [-60, -120], standard_deviations_degrees: [11.459, 11.459]}
"""


def load(tmp_path, text):
    path = tmp_path / "simulation.yaml"
    path.write_text(text)
    return load_simulation(path)


def test_the_default_ctf_is_the_papers_table_1(tmp_path):
    config = load(tmp_path, HINGE)
    assert (config.ctf.defocus_u, config.ctf.defocus_v, config.ctf.angle_degrees) == (15301.1, 14916.4, 5.28)
    (optics,) = config.optics
    assert (optics.voltage_kv, optics.spherical_aberration_mm, optics.amplitude_contrast) == (300.0, 2.7, 0.07)


def test_paths_are_relative_to_the_configurations_folder(tmp_path):
    assert load(tmp_path, HINGE).model == tmp_path / "protein.pdb"
    motion = load(tmp_path, "motion: {kind: trajectory, trajectory: a/b.dcd, topology: c.pdb}").motion
    assert (motion.trajectory, motion.topology) == (tmp_path / "a/b.dcd", tmp_path / "c.pdb")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HINGE + "images: {boks: 64}", "did you mean images.box"),
        (HINGE + "imags: {box: 64}", "did you mean images"),
        (HINGE + "images: {snr: -1}", "images.snr"),
        (HINGE + "ctf: {kind: distribution, defocus: [20000, 10000]}", "from ≤ to"),
        (HINGE.replace("[0, 1, 0]", "[0, 0, 0]"), "axis must not be"),
        (HINGE.replace("[11.459, 11.459]", "[11.459]"), "has 1 values for 2"),
        (HINGE.replace("model: protein.pdb", ""), "needs `model`"),
        ("motion: {kind: hinge, domains: []}", "motion.hinge.domains"),
        ("motion: [", "not valid YAML"),
        ("model: protein.pdb", "motion is missing"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text, says):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert says in str(error.value)


def test_the_documented_configuration_is_valid_and_shows_the_defaults(tmp_path):
    page = Path(__file__).resolve().parents[2] / "docs" / "simulation.md"
    documented = load(tmp_path, page.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0])
    plain = load(tmp_path, HINGE.replace("protein.pdb", str(documented.model)))
    assert documented.images.model_dump() == plain.images.model_dump()
    assert documented.optics == plain.optics
    assert documented.ctf == plain.ctf
    assert (documented.placement, documented.seed) == (plain.placement, plain.seed)
    assert documented.motion.conformations == plain.motion.conformations
    assert documented.motion.domains[0] == plain.motion.domains[0]
