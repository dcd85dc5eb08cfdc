"""Molecules torn by a periodic box come out as they would have been without one."""

from __future__ import annotations

import biotite.structure.io.xtc as xtc
import numpy as np
import pytest

from cryosphere.errors import StructureError
from cryosphere.settings import validate
from cryosphere.simulation.motion_config import TrajectoryMotion
from cryosphere.simulation.periodic import Unwrapper, usable_cell
from cryosphere.simulation.trajectory import trajectory_conformations
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_models

RECTANGULAR = np.diag([45.0, 52.0, 48.0])
TRICLINIC = np.array([[50.0, 0, 0], [12.0, 47.0, 0], [-9.0, 14.0, 49.0]])


def wrapped(atoms, cell):
    """Every atom in the cell that begins at the origin, wherever its neighbours are."""
    fractions = atoms @ np.linalg.inv(cell)
    return (fractions - np.floor(fractions)) @ cell


def conformations(path, topology, model=None, **values):
    motion = validate(
        TrajectoryMotion, {"kind": "trajectory", "trajectory": path, "topology": topology} | values, origin="."
    )
    return trajectory_conformations(model, motion)


def write_xtc(path, frames, cell):
    file = xtc.XTCFile()
    file.set_coord(frames.astype(np.float32))
    file.set_box(np.repeat(cell[None].astype(np.float32), len(frames), axis=0))
    file.set_time(np.arange(len(frames), dtype=np.float32))
    file.write(str(path))
    return path


def drifting(atoms, count=6):
    """Frames (count, atoms, 3) in which a molecule drifts by 30 Å a frame through everything."""
    return np.stack([atoms + k * np.array([11.0, -23.0, 17.0]) for k in range(count)])


@pytest.mark.parametrize("cell", [RECTANGULAR, TRICLINIC])
def test_a_torn_protein_is_mended(shared_data, tmp_path, caplog, cell):
    topology = shared_data / "trajectories" / "adk" / "adk_closed.pdb"
    model = read_model(topology)
    torn = write_xtc(tmp_path / "t.xtc", wrapped(drifting(model.positions), cell), cell)
    found = conformations(torn, topology, model)
    assert "6 of 6 frames the molecule was torn" in caplog.text
    # superposed, all frames are the model again; XTC keeps 0.01 Å
    assert found.positions == pytest.approx(np.repeat(model.beads.positions[None], 6, axis=0), abs=0.02)
    atoms = np.stack(list(found.all_atoms()))
    assert atoms == pytest.approx(np.repeat(model.positions[None], 6, axis=0), abs=0.03)


def test_a_topology_that_is_torn_itself_is_understood(shared_data, tmp_path):
    model = read_model(shared_data / "trajectories" / "adk" / "adk_closed.pdb")
    frames = wrapped(drifting(model.positions), RECTANGULAR)
    write_models(tmp_path / "torn.cif", model, wrapped(model.positions, RECTANGULAR)[None])
    found = conformations(write_xtc(tmp_path / "t.xtc", frames, RECTANGULAR), tmp_path / "torn.cif", model)
    assert found.positions == pytest.approx(np.repeat(model.beads.positions[None], 6, axis=0), abs=0.02)


def test_chains_come_to_lie_beside_each_other_as_in_the_topology(protein, tmp_path):
    model = read_model(protein)
    frames = drifting(model.positions)
    frames[:, 20:] += np.arange(6)[:, None, None] * np.array([0.0, 1.5, 0.0])  # and chain B moves away from chain A
    whole = conformations(write_xtc(tmp_path / "w.xtc", frames, 500 * np.eye(3)), protein, model)
    torn = conformations(write_xtc(tmp_path / "t.xtc", wrapped(frames, RECTANGULAR), RECTANGULAR), protein, model)
    assert torn.positions == pytest.approx(whole.positions, abs=0.03)


def test_a_whole_molecule_is_left_exactly_where_it_is(shared_data):
    model = read_model(shared_data / "trajectories" / "adk" / "adk_closed.pdb")
    moved = Unwrapper(model, 90 * np.eye(3))(model.positions, 90 * np.eye(3))
    assert np.array_equal(moved, model.positions)


def test_without_a_box_a_torn_frame_is_refused(protein, tmp_path):
    frames = wrapped(drifting(read_model(protein).positions), RECTANGULAR)
    torn = write_xtc(tmp_path / "t.xtc", frames, np.zeros((3, 3)))
    with pytest.raises(StructureError, match="torn apart"):
        conformations(torn, protein)


@pytest.mark.parametrize("cell", [None, np.eye(3), np.zeros((3, 3)), np.full((3, 3), np.nan), np.diag([90, 90, 5])])
def test_fillers_are_no_boxes(cell):
    assert usable_cell(cell) is None
