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
    weighted = load(tmp_path, "motion: {kind: trajectory, trajectory: b.dcd, topology: c.pdb, weights: w.txt}").motion
    assert weighted.weights == tmp_path / "w.txt"
    motion = load(tmp_path, "motion: {kind: interpolation, start: a.pdb, end: b.cif}").motion
    assert (motion.start, motion.end) == (tmp_path / "a.pdb", tmp_path / "b.cif")


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
        (
            HINGE.replace("axis:", "scal: -1, axis:".replace(", ", "\n      ")),
            "did you mean motion.hinge.domains.0.scale",
        ),
        (HINGE.replace("axis: [0, 1, 0]", "axis: [0, 1, 0]\n      scale: 0"), "scale must not be 0"),
        (HINGE.replace("first: 599", "first: 800"), "first (800) must not be after last (755)"),
        (HINGE + "absent: [{residues: [{chain: B}], fraction: 1.5}]", "absent.0.fraction"),
        (HINGE + "jitter: {mode: 3}", "did you mean jitter.modes"),
        (HINGE + "pose_errors: {rotation: 2}", "did you mean pose_errors.rotation_degrees"),
        (HINGE + "optics: {voltge_kv: 300}", "did you mean optics.0.voltage_kv"),
        (HINGE + "optics: []", "optics"),
        ("motion: {kind: trajectory, trajectory: a.dcd, superpose: maybe}", "must be true, false, or a list"),
        ("motion: {kind: trajectory, trajectory: a.dcd, weights: [1, -2]}", "motion.trajectory.weights.list.1"),
        ("motion: {kind: trajectory, trajectory: a.dcd, weights: {a: 1}}", "must be a list of numbers or the name"),
        ("motion: {kind: interpolation, start: a.pdb, end: b.pdb, domains: none}", "should be 'auto'"),
        ("model: a.pdb\nmotion: {kind: interpolation, start: a.pdb, end: b.pdb}", "leave `model` out"),
        (
            "motion: {kind: interpolation, start: a.pdb, end: b.pdb, states: {kind: discrete, values: [0, 2]}}",
            "values.1",
        ),
        (
            "motion: {kind: interpolation, start: a.pdb, end: b.pdb, states: {kind: discrete, values: [0, 1], "
            "weights: [1]}}",
            "weights has 1 values for 2 values",
        ),
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
    left = {"model", "motion", "images", "optics", "ctf", "placement", "seed"}
    assert documented.model_dump(exclude=left) == plain.model_dump(exclude=left)


def test_every_fragment_of_the_documentation_is_valid(tmp_path):
    page = (Path(__file__).resolve().parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")
    fragments = [block.split("```")[0] for block in page.split("```yaml\n")[2:]]
    assert len(fragments) >= 7
    seen = set()
    for fragment in fragments:
        kind = fragment.split(":")[0]
        seen.add(kind)
        if kind == "motion":
            load(tmp_path, fragment.replace(", …]", "]"))
        elif kind == "angles":
            for line in fragment.splitlines():
                load(tmp_path, HINGE[: HINGE.index("  angles:")] + "  " + line)
        else:
            load(tmp_path, HINGE + fragment)
    assert {"motion", "angles", "jitter", "absent", "optics", "ctf"} <= seen


def test_other_states_of_an_interpolation_are_valid_as_documented(tmp_path):
    page = (Path(__file__).resolve().parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")
    inline = [text for text in page.split("`") if text.startswith("{kind: ")]
    kinds = {load(tmp_path, f"motion: {{kind: interpolation, start: a, end: b, states: {text}}}").motion.states.kind
             for text in inline if "mean" in text or "values" in text}  # fmt: skip
    assert kinds == {"normal_mixture", "discrete"}
