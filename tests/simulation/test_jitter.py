"""Jitter: internal motion only, of the size asked for, softest where the network is softest."""

from __future__ import annotations

import numpy as np
import pytest

from cryosphere.errors import ConfigError
from cryosphere.simulation import jitter
from cryosphere.simulation.conformations import Conformations
from cryosphere.simulation.jitter import elastic_modes, jittered, network_hessian
from cryosphere.simulation.motion_config import JitterSettings
from cryosphere.structures.model import read_model


@pytest.fixture
def model(shared_data):
    return read_model(shared_data / "trajectories" / "adk" / "adk_closed.pdb")


def still(model, count, **changes):
    residues = len(model.beads)
    values = {
        "positions": np.repeat(model.beads.positions[None].astype(np.float32), count, axis=0),
        "parameter_names": (),
        "parameters": np.zeros((count, 0)),
        "domain": np.zeros(residues, dtype=np.int64),
    }
    return Conformations(model=model, **(values | changes))


def moves_of(model, count, settings, seed=0, **changes):
    conformations = still(model, count, **changes)
    moved = jittered(conformations, settings, np.random.default_rng(seed))
    return moved.positions.astype(float) - conformations.positions


def test_modes_are_those_of_the_whole_hessian(model):
    # an independent solution: all eigenvalues of the dense matrix, the first six of which are motions of the whole
    positions = model.beads.positions
    values = np.linalg.eigvalsh(network_hessian(positions, 12.0).toarray())
    assert np.abs(values[:6]).max() < 1e-10
    modes = elastic_modes(positions, JitterSettings(modes=20))
    assert modes.eigenvalues == pytest.approx(values[6:26], rel=1e-6)


def test_the_hessian_is_the_second_derivative_of_the_springs_energy():
    positions = np.random.default_rng(0).uniform(0, 12, (8, 3))
    pairs = [(i, j) for i in range(8) for j in range(i) if np.linalg.norm(positions[i] - positions[j]) < 9.0]
    lengths = [np.linalg.norm(positions[i] - positions[j]) for i, j in pairs]

    def energy(x):
        found = [np.linalg.norm(x[i] - x[j]) for i, j in pairs]
        return 0.5 * np.square(np.subtract(found, lengths)).sum()

    step = np.random.default_rng(1).standard_normal((8, 3))
    h = 1e-4  # second difference: error of order h², and 1e-16 / h² from rounding
    numeric = (energy(positions + h * step) + energy(positions - h * step)) / h**2
    assert step.ravel() @ network_hessian(positions, 9.0) @ step.ravel() == pytest.approx(numeric, rel=1e-5)


@pytest.mark.parametrize("rms", [0.5, 1.5])
def test_the_root_mean_square_displacement_is_as_asked(model, rms):
    moves = moves_of(model, 2000, JitterSettings(rms=rms))
    # of 2000 draws of some 10 modes that matter: the mean square is known to √(2/20000) = 1 %
    assert np.sqrt(np.square(moves).sum(axis=-1).mean()) == pytest.approx(rms, rel=0.02)


def test_nothing_moves_as_a_whole(model):
    moves = moves_of(model, 20, JitterSettings(rms=1.0))
    arms = model.beads.positions - model.beads.positions.mean(axis=0)
    assert np.abs(moves.mean(axis=1)).max() < 1e-6  # Å; positions are float32 of tens of Å
    momentum = np.cross(arms, moves).mean(axis=1) / np.square(arms).sum(axis=1).mean()
    assert np.abs(momentum).max() < 1e-6  # radians


def test_softer_modes_move_more(model):
    settings = JitterSettings(rms=1.0, modes=10)
    modes = elastic_modes(model.beads.positions, settings)
    moves = moves_of(model, 4000, settings)
    amplitudes = np.tensordot(moves, modes.shapes, axes=[(1, 2), (1, 2)])
    # equipartition: variance × eigenvalue is one number; 4000 draws know each to √(2/4000) = 2.2 %
    energies = amplitudes.var(axis=0) * modes.eigenvalues
    assert energies / energies.mean() == pytest.approx(np.ones(10), rel=0.1)


def test_a_domain_that_is_turned_takes_its_jitter_along(model):
    turns = np.tile(np.eye(3), (1, 1, 1, 1))
    turns[0, 0] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    plain = moves_of(model, 1, JitterSettings())
    positions = (model.beads.positions @ turns[0, 0].T)[None].astype(np.float32)
    turned = moves_of(model, 1, JitterSettings(), turns=turns, positions=positions)
    assert turned[0] == pytest.approx(plain[0] @ turns[0, 0].T, abs=1e-4)


def test_a_model_too_large_is_refused_with_the_limit(model, monkeypatch):
    monkeypatch.setattr(jitter, "MOST_BEADS", 200)
    with pytest.raises(ConfigError, match=r"214 residues.*at most 200"):
        moves_of(model, 1, JitterSettings())


def test_a_network_with_loose_parts_is_refused(model):
    with pytest.raises(ConfigError, match="hangs loose"):
        moves_of(model, 1, JitterSettings(cutoff=5.0))


def test_more_modes_than_there_are_is_refused(protein):
    with pytest.raises(ConfigError, match="only 114"):
        elastic_modes(read_model(protein).beads.positions, JitterSettings(modes=150, cutoff=30))
