"""Volumes of a run's structures against those of the truth."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from cryosphere.errors import InputError
from cryosphere.evaluation.fsc import FscSettings, fsc_of_run
from cryosphere.evaluation.true_atoms import AtomsOfBeads
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import bead_volumes
from cryosphere.training.trained import TrainedModel


@pytest.fixture(scope="module")
def model(run):
    return TrainedModel.load(run, device="cpu")


@pytest.fixture(scope="module")
def latents(model):
    return model.encode().mean


def numpy_fsc(first, second):
    """Over the full spectrum, shells of the nearest whole frequency."""
    box = len(first)
    axis = np.fft.fftfreq(box) * box
    shell = np.rint(np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)).astype(int).ravel()
    one, other = np.fft.fftn(first).ravel(), np.fft.fftn(second).ravel()
    cross, *powers = (
        np.bincount(shell, values) for values in ((one * other.conj()).real, np.abs(one) ** 2, np.abs(other) ** 2)
    )
    return (cross / np.sqrt(powers[0] * powers[1]))[: (box - 1) // 2 + 1]


def test_curves_of_beads_agree_with_a_plain_computation(model, data, latents):
    found = fsc_of_run(model, data.truth, latents, settings=FscSettings(images=3, all_atoms=False))
    assert found.rows.tolist() == [0, 50, 99]  # 100 images
    assert found.atoms is None
    assert found.grid == ImageGrid(32, 4.0)
    electrons = torch.as_tensor(data.truth.amplitudes)
    for k, row in enumerate(found.rows):
        pair = [model.bead_positions(latents[[row]]), data.truth.positions([row])]
        volumes = [bead_volumes(torch.as_tensor(x).double(), electrons, found.grid)[0].numpy() for x in pair]
        assert found.beads.curves[k] == pytest.approx(numpy_fsc(*volumes), abs=1e-9)
    assert found.frequencies[1] == pytest.approx(1 / (32 * 4.0))


def test_a_perfect_prediction_has_the_highest_area_and_the_grids_resolution(model, data, latents, monkeypatch):
    true = data.truth.conformations[data.truth.conformation_index]
    found = dict(zip(map(tuple, latents.tolist()), true, strict=True))
    monkeypatch.setattr(model, "bead_positions", lambda z: np.stack([found[tuple(one)] for one in z.tolist()]))
    follow = AtomsOfBeads(model.atomic_model)
    monkeypatch.setattr(model, "atom_positions", lambda z: follow.positions(model.bead_positions(z)[0])[None])
    result = fsc_of_run(model, data.truth, latents, settings=FscSettings(images=4))
    summary = result.summary()
    for figures in (summary.beads, summary.atoms):
        assert figures.area == pytest.approx(15 / 32, abs=1e-5)
        assert figures.at_0143 == figures.at_half == pytest.approx(32 * 4.0 / 15)
        assert figures.sd_curve == pytest.approx([0.0] * 16, abs=1e-5)
    assert summary.highest_area == 15 / 32
    assert summary.base_beads.area < summary.beads.area
    assert summary.base_atoms.area < summary.atoms.area


def test_a_box_of_its_own_spans_the_same_field_of_view(model, data, latents):
    found = fsc_of_run(model, data.truth, latents, settings=FscSettings(images=2, box=48, all_atoms=False))
    assert found.grid.length == pytest.approx(32 * 4.0)
    plain = fsc_of_run(model, data.truth, latents, settings=FscSettings(images=2, all_atoms=False))
    # the same structures on a finer grid: the same correlations at the same frequencies
    assert found.beads.curves[:, :12] == pytest.approx(plain.beads.curves[:, :12], abs=2e-3)


def test_residues_that_an_image_lacks_are_missing_in_its_true_volume(model, data, latents):
    residues = len(data.truth.amplitudes)
    absent = (np.arange(residues) >= residues - 20)[None]
    presence = (np.arange(len(latents)) > 50)[:, None]  # the last half of the images has them all
    lacking = replace(data.truth, absent_sets=absent, presence=presence)
    settings = FscSettings(images=2)
    some, all_there = (fsc_of_run(model, t, latents, settings=settings) for t in (lacking, data.truth))
    for kind in ("beads", "atoms"):
        with_gap, whole = getattr(some, kind).curves, getattr(all_there, kind).curves
        assert np.abs(with_gap[0] - whole[0]).max() > 1e-2
        assert with_gap[1] == pytest.approx(whole[1])


def test_atoms_that_the_simulation_kept_are_the_true_ones(model, data, latents):
    """Told that the true atoms are the predicted ones, the volumes of atoms agree, and those of beads do not."""
    predicted = model.atom_positions(latents)
    count = len(data.truth.conformations)
    kept = replace(data.truth, atoms=predicted[:count], conformation_index=np.arange(len(latents)) % count)
    found = fsc_of_run(model, kept, latents, settings=FscSettings(images=1))
    assert found.true_atoms_known
    assert found.atoms.area == pytest.approx([15 / 32], abs=1e-5)
    assert found.beads.area[0] < 15 / 32 - 1e-3
    assert not fsc_of_run(model, data.truth, latents, settings=FscSettings(images=1)).true_atoms_known


def test_the_summary_is_plain_json(model, data, latents):
    summary = fsc_of_run(model, data.truth, latents, settings=FscSettings(images=2)).summary()
    read = json.loads(json.dumps(asdict(summary)))
    assert read["images"] == 2
    assert len(read["beads"]["mean_curve"]) == len(read["frequencies"]) == 16
    assert read["atoms"]["area"] == summary.atoms.area


@pytest.mark.parametrize("settings", [FscSettings(images=0), FscSettings(box=7)])
def test_settings_that_make_no_volume_are_refused(model, data, latents, settings):
    with pytest.raises(InputError, match="at least 1 image and a box of 8"):
        fsc_of_run(model, data.truth, latents, settings=settings)


def rotation(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def test_atoms_follow_a_rigid_motion_exactly(model):
    turn, shift = rotation(0.7), np.array([3.0, -2.0, 8.0])
    atomic = model.atomic_model
    found = AtomsOfBeads(atomic).positions(atomic.beads.positions @ turn.T + shift)
    assert np.allclose(found, atomic.positions @ turn.T + shift, atol=1e-9)


def test_atoms_of_a_turning_domain_turn_with_it_but_for_those_at_the_hinge(model):
    atomic = model.atomic_model
    moving = np.arange(len(atomic.beads)) >= 60
    turn = rotation(0.5)
    found = AtomsOfBeads(atomic).positions(
        np.where(moving[:, None], atomic.beads.positions @ turn.T, atomic.beads.positions)
    )
    expected = np.where(moving[atomic.atom_bead][:, None], atomic.positions @ turn.T, atomic.positions)
    away = np.abs(atomic.atom_bead - 59.5) > 4.5
    assert np.allclose(found[away], expected[away], atol=1e-9)
    assert np.abs(found - expected).max() < 5.0  # at the hinge a residue turns by something between
