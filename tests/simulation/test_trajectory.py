"""Conformations from trajectories: the right residues at the right places, and files that do not fit refused."""

from __future__ import annotations

import re

import biotite.structure.io.dcd as dcd
import biotite.structure.io.pdb as pdb
import biotite.structure.io.xtc as xtc
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.errors import ConfigError, StructureError
from cryosphere.settings import validate
from cryosphere.simulation.atoms import BeadPositions
from cryosphere.simulation.motion_config import TrajectoryMotion
from cryosphere.simulation.simulate import simulate
from cryosphere.simulation.trajectory import trajectory_conformations
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_models

from .conftest import configuration, pdb_atom


def motion(**values):
    return validate(TrajectoryMotion, {"kind": "trajectory", "superpose": False} | values, origin="the test")


def bent(protein, count=6):
    """Atom positions (count, atoms, 3): the second half of each frame lifted a little further."""
    positions = read_model(protein).positions
    frames = np.repeat(positions[None], count, axis=0)
    frames[:, len(positions) // 2 :, 2] += 0.5 * np.arange(count)[:, None]
    return frames.astype(np.float32)


def written(path, frames):
    file = (dcd.DCDFile if path.suffix == ".dcd" else xtc.XTCFile)()
    file.set_coord(frames)
    if path.suffix == ".xtc":
        file.set_box(np.repeat(100 * np.eye(3, dtype=np.float32)[None], len(frames), axis=0))
        file.set_time(np.arange(len(frames), dtype=np.float32))
    file.write(str(path))
    return path


@pytest.mark.parametrize(("suffix", "precision"), [(".dcd", 1e-4), (".xtc", 0.006)])  # XTC keeps 0.01 Å
def test_frames_are_where_their_file_puts_them(protein, tmp_path, suffix, precision):
    frames = bent(protein)
    path = written(tmp_path / f"t{suffix}", frames)
    result = trajectory_conformations(None, motion(trajectory=path, topology=protein))
    assert result.positions == pytest.approx(frames, abs=precision)  # one Cα per residue: beads are atoms
    assert result.model.positions == pytest.approx(frames[0], abs=precision)
    assert result.parameter_names == ("frame",)
    assert result.parameters[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert set(result.domain) == {-1}


def test_a_multi_model_file_is_a_trajectory(protein, tmp_path):
    frames = bent(protein)
    write_models(tmp_path / "t.cif", read_model(protein), frames)
    result = trajectory_conformations(None, motion(trajectory=tmp_path / "t.cif"))
    assert result.positions == pytest.approx(frames, abs=6e-4)  # three decimals


@pytest.mark.parametrize("name", ["t.dcd", "t.cif"])
def test_first_last_and_step_choose_frames(protein, tmp_path, name):
    frames = bent(protein)
    if name == "t.dcd":
        chosen = {"trajectory": written(tmp_path / name, frames), "topology": protein}
    else:
        write_models(tmp_path / name, read_model(protein), frames)
        chosen = {"trajectory": tmp_path / name}
    result = trajectory_conformations(None, motion(**chosen, first=1, last=5, step=2))
    assert result.positions == pytest.approx(frames[1:5:2], abs=6e-4)
    assert result.parameters[:, 0].tolist() == [1, 3]
    assert result.model.beads.positions == pytest.approx(frames[1], abs=6e-4)


def test_residues_are_matched_to_the_model_by_chain_and_number(protein, tmp_path):
    lines = protein.read_text().splitlines(keepends=True)
    atoms = [line for line in lines if line.startswith("ATOM")]
    other = tmp_path / "other_order.pdb"
    other.write_text("".join([*atoms[20:], "TER\n", *atoms[:18], "TER\nEND\n"]))  # B before A, A without its end
    frames = bent(protein)
    path = written(tmp_path / "t.dcd", frames)
    model = read_model(other)
    result = trajectory_conformations(model, motion(trajectory=path, topology=protein))
    assert result.model is model
    assert result.positions == pytest.approx(np.concatenate([frames[:, 20:], frames[:, :18]], axis=1), abs=1e-4)


def test_a_bead_without_an_atom_of_its_own_goes_with_its_centre_of_electrons(tmp_path):
    path = tmp_path / "ligand.pdb"
    atoms = [pdb_atom(1, " C1", "LIG", "A", 1, (0, 0, 0), "C"), pdb_atom(2, " O1", "LIG", "A", 1, (1.2, 0, 0), "O")]
    path.write_text("".join(atom.replace("ATOM  ", "HETATM") for atom in atoms) + "END\n")
    model = read_model(path)
    moved = model.positions + np.array([[0, 0, 0], [0, 0, 1.0]])
    # 6 electrons stay, 8 rise by 1 Å
    assert BeadPositions(model)(moved) - model.beads.positions == pytest.approx(np.array([[0, 0, 8 / 14]]))


@pytest.mark.filterwarnings("ignore:.*elements were guessed:UserWarning")
def test_simulated_adenylate_kinase_opens_as_far_as_its_trajectory(shared_data, tmp_path):
    folder = shared_data / "trajectories" / "adk"
    config = configuration(
        {
            "motion": {
                "kind": "trajectory",
                "trajectory": folder / "adk_dims.dcd",
                "topology": folder / "adk_closed.pdb",
                "superpose": False,
            },
            "images": {"count": 98, "box": 48, "pixel_size": 2.0},
        }
    )
    truth = simulate(config, tmp_path / "out").truth
    assert truth.conformations.shape == (98, 214, 3)
    # Cα atoms found by another program
    topology = pdb.PDBFile.read(folder / "adk_closed.pdb").get_structure(model=1)
    alpha = dcd.DCDFile.read(folder / "adk_dims.dcd").get_coord()[:, topology.atom_name == "CA"]
    assert truth.conformations == pytest.approx(alpha - alpha[0].mean(axis=0), abs=1e-3)
    lid = (truth.residue_number >= 122) & (truth.residue_number <= 159)
    nmp = (truth.residue_number >= 30) & (truth.residue_number <= 59)
    centres = [truth.conformations[:, part].mean(axis=1) for part in (lid, ~lid & ~nmp)]
    distance = np.linalg.norm(centres[0] - centres[1], axis=1)
    # the range stated with the data: 21.0 to 30.7 Å
    assert (distance.min(), distance.max()) == pytest.approx((21.0, 30.7), abs=0.1)


def test_what_does_not_fit_together_is_refused(protein, tmp_path):
    frames = bent(protein)
    good = written(tmp_path / "t.dcd", frames)
    short = written(tmp_path / "short.dcd", frames[:, :30])
    torn = frames.copy()
    torn[3, 35:] += 60
    shuffled = frames[:, np.random.default_rng(0).permutation(frames.shape[1])]
    jumping = frames.copy()
    jumping[4:, 20:] += 120  # chain B
    away = frames.copy()
    away[:, 20:] += 120  # in every frame, but not in the topology
    (tmp_path / "damaged.dcd").write_bytes(b"not a trajectory" * 20)
    lonely = tmp_path / "lonely.pdb"
    lonely.write_text(pdb_atom(1, " CA", "ALA", "X", 1, (0, 0, 0), "C") + "END\n")
    cases = [
        ({"trajectory": short, "topology": protein}, None, StructureError, "30 atoms"),
        ({"trajectory": good}, None, ConfigError, "motion.topology"),
        ({"trajectory": protein, "topology": protein}, None, ConfigError, "leave it out"),
        ({"trajectory": tmp_path / "no.dcd", "topology": protein}, None, ConfigError, "no file"),
        ({"trajectory": tmp_path / "damaged.dcd", "topology": protein}, None, StructureError, "cannot be read"),
        ({"trajectory": good, "topology": protein, "first": 50}, None, ConfigError, "no frames"),
        ({"trajectory": good, "topology": protein}, lonely, StructureError, "chain 'X'"),
        ({"trajectory": written(tmp_path / "torn.dcd", torn), "topology": protein}, None, StructureError, "torn apart"),
        (
            {"trajectory": written(tmp_path / "s.dcd", shuffled), "topology": protein},
            None,
            StructureError,
            "other order",
        ),
        ({"trajectory": written(tmp_path / "j.dcd", jumping), "topology": protein}, None, StructureError, "jumps by"),
        (
            {"trajectory": written(tmp_path / "a.dcd", away), "topology": protein},
            None,
            StructureError,
            "from the topology to the first frame, chain 'B' jumps by",
        ),
    ]
    for values, model, error, says in cases:
        with pytest.raises(error, match=says):
            trajectory_conformations(None if model is None else read_model(model), motion(**values))


def test_models_with_different_atoms_are_refused(protein, tmp_path):
    atoms = [line for line in protein.read_text().splitlines(keepends=True) if line.startswith("ATOM")]
    path = tmp_path / "uneven.pdb"
    path.write_text("".join(["MODEL        1\n", *atoms, "ENDMDL\nMODEL        2\n", *atoms[:-1], "ENDMDL\nEND\n"]))
    with pytest.raises(StructureError, match="model 2 has 39 atoms"):
        trajectory_conformations(None, motion(trajectory=path))


def test_a_drifting_trajectory_is_superposed_and_the_log_says_how_far_it_drifted(protein, tmp_path, caplog):
    caplog.set_level("INFO", "cryosphere")
    frames = bent(protein)
    turn = Rotation.from_euler("y", 30, degrees=True).as_matrix()
    drifted = frames.copy()
    drifted[3] = frames[3] @ turn.T + [7.0, 0, 0]
    paths = [written(tmp_path / name, f) for name, f in (("a.dcd", frames), ("b.dcd", drifted))]
    still, superposed = (
        trajectory_conformations(None, motion(trajectory=p, topology=protein, superpose=True)).positions for p in paths
    )
    assert superposed == pytest.approx(still, abs=1e-3)
    # 30 degrees, give or take the 4 by which a bent frame lies turned without any drift
    assert re.search(r"b\.dcd: the frames lie turned by up to (2[6-9]|3[0-4])\.\d degrees", caplog.text)


def test_frames_can_be_superposed_by_some_residues_only(protein, tmp_path):
    path = written(tmp_path / "t.dcd", bent(protein))  # chain B rises, chain A stays
    values = {"trajectory": path, "topology": protein}
    by_a = trajectory_conformations(None, motion(**values, superpose=[{"chain": "A"}])).positions
    assert by_a == pytest.approx(bent(protein), abs=1e-3)
    by_b = trajectory_conformations(None, motion(**values, superpose=[{"chain": "B"}])).positions
    assert by_b[:, 20:] == pytest.approx(np.repeat(by_b[:1, 20:], 6, axis=0), abs=1e-3)


@pytest.mark.parametrize("form", ["list", "file"])
def test_frames_are_shown_as_often_as_their_weights_say(protein, tmp_path, form):
    weights = [0, 1, 2, 3, 3, 1]
    (tmp_path / "w.txt").write_text("\n".join(map(str, weights)))
    values = {
        "motion": {
            "kind": "trajectory",
            "trajectory": written(tmp_path / "t.dcd", bent(protein)),
            "topology": protein,
            "weights": weights if form == "list" else tmp_path / "w.txt",
        },
        "images": {"count": 40, "box": 32, "pixel_size": 2.0},
    }
    truth = simulate(configuration(values), tmp_path / "out").truth
    assert np.bincount(truth.conformation_index).tolist() == [0, 4, 8, 12, 12, 4]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([1, 2], "2 weights for the 6 frames"),
        ([0] * 6, "not all 0"),
        ("words.txt", "cannot read numbers"),
        ("no.txt", "cannot read numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused(protein, tmp_path, weights, says):
    (tmp_path / "words.txt").write_text("one two three")
    weights = tmp_path / weights if isinstance(weights, str) else weights
    path = written(tmp_path / "t.dcd", bent(protein))
    with pytest.raises(ConfigError, match=says):
        trajectory_conformations(None, motion(trajectory=path, topology=protein, weights=weights))
