"""All atoms: where they truly are, and images made of them."""

from __future__ import annotations

import biotite.structure.io.dcd as dcd
import mrcfile
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryosphere.errors import InputError
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.formation import particle_images
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import ReferenceProjector
from cryosphere.simulation.atoms import atom_amplitudes
from cryosphere.simulation.simulate import simulate
from cryosphere.simulation.truth import load_truth
from cryosphere.structures.model import read_model

from .conftest import configuration, hinge_config

LID = {"residues": [{"chain": "", "first": 122, "last": 159}], "axis": [0, 1, 0]}


@pytest.fixture
def adk(shared_data):
    return shared_data / "trajectories" / "adk"


def simulated(folder, motion, **values):
    images = {"count": 12, "box": 48, "pixel_size": 2.0, "snr": 1e12} | values.pop("images", {})
    return simulate(configuration({"motion": motion, "images": images, "truth_atoms": True} | values), folder)


def trajectory(adk, **values):
    files = {"trajectory": adk / "adk_dims.dcd", "topology": adk / "adk_closed.pdb", "step": 10}
    return {"kind": "trajectory", "superpose": False} | files | values


def hinge(**angles):
    return {"kind": "hinge", "domains": [LID], "angles": {"kind": "discrete", "angles_degrees": [0, 40]} | angles}


def test_true_atoms_of_a_trajectory_are_its_frames(adk, tmp_path):
    made = simulated(tmp_path / "out", trajectory(adk), images={"count": 20})
    truth = load_truth(made.truth_path)
    frames = dcd.DCDFile.read(adk / "adk_dims.dcd").get_coord()[::10]  # by another program
    atoms = truth.atom_positions(slice(None))
    shift = atoms - frames[truth.conformation_index]
    assert shift == pytest.approx(np.broadcast_to(shift[0, 0], shift.shape), abs=1e-4)  # only the centring
    assert atoms.shape[1] == len(read_model(made.model).positions)


def test_atoms_turn_with_their_hinge_and_those_of_the_rest_stay(adk, tmp_path):
    truth = simulated(tmp_path / "out", hinge(), model=adk / "adk_closed.pdb").truth
    model = read_model(tmp_path / "out" / "model.cif")
    still, turned = truth.atoms
    assert still == pytest.approx(model.positions, abs=1e-3)  # mmCIF has three decimals
    moving = truth.domain[model.atom_bead] == 1
    assert turned[~moving] == pytest.approx(still[~moving], abs=1e-5)
    centred = [x[moving].astype(float) - x[moving].mean(axis=0, dtype=float) for x in (turned, still)]
    found, missed = Rotation.align_vectors(*centred)
    assert found.as_rotvec(degrees=True) == pytest.approx([0, 40, 0], abs=1e-3)
    assert missed < 0.01


def test_atoms_of_an_interpolation_start_as_given_and_keep_their_distances_to_their_beads(adk, tmp_path):
    motion = {
        "kind": "interpolation",
        "start": adk / "adk_closed.pdb",
        "end": adk / "adk_open.pdb",
        "states": {"kind": "discrete", "values": [0, 1]},
    }
    truth = simulated(tmp_path / "out", motion).truth
    model = read_model(tmp_path / "out" / "model.cif")
    assert truth.atoms[0] == pytest.approx(model.positions, abs=1e-3)
    arms = [
        np.linalg.norm(a - b[model.atom_bead], axis=1) for a, b in zip(truth.atoms, truth.conformations, strict=True)
    ]
    assert arms[1] == pytest.approx(arms[0], abs=1e-4)


@pytest.mark.parametrize("kind", ["hinge", "trajectory"])
def test_jitter_carries_atoms_along_with_their_beads(adk, tmp_path, kind):
    motion, model = (hinge(), adk / "adk_closed.pdb") if kind == "hinge" else (trajectory(adk), None)
    calm = simulated(tmp_path / "calm", motion, model=model).truth
    shaken = simulated(tmp_path / "shaken", motion, model=model, jitter={"rms": 1.0}).truth
    bead = read_model(tmp_path / "calm" / "model.cif").atom_bead
    rows = np.array([np.flatnonzero((calm.parameters == p).all(axis=1))[0] for p in shaken.parameters])
    moved = shaken.conformations - calm.conformations[rows]
    assert 0.4 < np.sqrt(np.square(moved).sum(axis=-1).mean()) < 1.6
    assert shaken.atoms - calm.atoms[rows] == pytest.approx(moved[:, bead], abs=1e-4)


def test_images_of_atoms_are_sums_over_the_true_atoms(adk, tmp_path):
    absent = [{"residues": LID["residues"], "fraction": 0.5}]
    made = simulated(tmp_path / "out", trajectory(adk), images={"density": "atoms"}, absent=absent)
    truth, model = made.truth, read_model(tmp_path / "out" / "model.cif")
    assert truth.density == "atoms"
    amplitudes = atom_amplitudes(model) * truth.present(slice(None))[:, model.atom_bead]
    tensors = (truth.atom_positions(slice(None)), amplitudes, made.table.rotations, made.table.shifts)
    expected = particle_images(
        *(torch.as_tensor(np.asarray(x), dtype=torch.float64) for x in tensors),
        CtfParameters.from_table(made.table, dtype=torch.float64),
        ReferenceProjector(ImageGrid(48, 2.0), 2.0),
    ).numpy()
    with mrcfile.open(tmp_path / "out" / "particles.mrcs") as stack:
        # the fast projector's own error is 1e-4 of the image
        assert np.abs(stack.data - expected).max() < 1e-3 * expected.std()


def test_atoms_of_a_residue_have_its_electrons(adk, shared_data):
    for path in (
        adk / "adk_closed.pdb",
        shared_data / "models" / "prody-web" / "1ake.pdb",
    ):  # with and without hydrogens
        model = read_model(path)
        sums = np.bincount(model.atom_bead, weights=atom_amplitudes(model), minlength=len(model.beads))
        assert sums == pytest.approx(model.beads.amplitudes)


def test_images_of_atoms_and_of_beads_differ(adk, tmp_path):
    stacks = []
    for density in ("atoms", "beads"):
        simulated(tmp_path / density, trajectory(adk), images={"density": density, "pixel_size": 1.5, "box": 64})
        with mrcfile.open(tmp_path / density / "particles.mrcs") as stack:
            stacks.append(np.array(stack.data))
    correlation = np.corrcoef(stacks[0].ravel(), stacks[1].ravel())[0, 1]
    assert 0.7 < correlation < 0.99


def test_true_atoms_are_a_second_file_only_where_asked_for(protein, tmp_path):
    truth = simulate(hinge_config(protein), tmp_path / "out").truth
    assert not (tmp_path / "out" / "truth_atoms.npy").exists()
    with pytest.raises(InputError, match="truth_atoms: true"):
        truth.atom_positions(slice(None))


def test_a_file_of_atoms_that_does_not_belong_to_the_truth_is_refused(adk, tmp_path):
    made = simulated(tmp_path / "out", trajectory(adk))
    np.save(tmp_path / "out" / "truth_atoms.npy", np.zeros((3, 5, 3), dtype=np.float32))
    with pytest.raises(InputError, match="3 conformations, the truth 10"):
        load_truth(made.truth_path)
    (tmp_path / "out" / "truth_atoms.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="cannot be read"):
        load_truth(made.truth_path)
