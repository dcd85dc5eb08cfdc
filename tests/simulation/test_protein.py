"""The protein of the demo: geometry of a protein, two compact domains, and a hinge that opens freely."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from scipy.spatial.transform import Rotation

from cryosphere.errors import ConfigError
from cryosphere.simulation.protein import TwoDomainProtein, two_domain_protein
from cryosphere.structures import read_model, write_model

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module", params=SEEDS)
def protein(request) -> TwoDomainProtein:
    return two_domain_protein(seed=request.param)


def _domains(protein: TwoDomainProtein) -> tuple[np.ndarray, np.ndarray]:
    beads = protein.model.beads
    first, second = (beads.positions[(beads.number >= low) & (beads.number <= high)] for low, high in protein.domains)
    return first, second


def test_it_is_one_chain_of_linked_residues_numbered_from_one_and_centred(protein):
    beads = protein.model.beads
    assert beads.number.tolist() == list(range(1, 201))
    assert set(beads.chain.tolist()) == {"A"}
    assert set(beads.kind.tolist()) == {"protein"}
    assert len(beads.bonded) == 199
    assert np.average(beads.positions, axis=0, weights=beads.amplitudes) == pytest.approx([0, 0, 0], abs=1e-6)


def test_neighbouring_calpha_atoms_are_3_8_angstroms_apart_and_no_others_clash(protein):
    places = protein.model.beads.positions
    distances = cdist(places, places)
    apart = np.abs(np.subtract.outer(np.arange(200), np.arange(200)))
    assert distances[apart == 1] == pytest.approx(3.81, abs=0.03)
    assert distances[apart > 2].min() > 3.9
    assert 4.5 < distances[apart == 2].min() < distances[apart == 2].max() < 7.4  # helix 5.4, strand 6.4-7.3


def test_bonds_have_their_lengths_and_hardly_any_atoms_of_different_residues_collide(protein):
    model = protein.model
    distances = cdist(model.positions, model.positions)
    np.fill_diagonal(distances, np.inf)
    assert 1.2 < distances.min(axis=1).min() < distances.min(axis=1).max() < 1.6
    other = np.abs(np.subtract.outer(model.atom_bead, model.atom_bead)) > 1
    assert (distances[other] < 2.4).sum() / 2 < 0.005 * len(model.positions)


def test_domains_differ_in_size_are_compact_and_not_round(protein):
    assert protein.domains == ((1, 120), (121, 200))
    for places in _domains(protein):
        radius = np.sqrt(places.var(axis=0).sum())
        assert radius < 1.35 * 2.2 * len(places) ** 0.38  # globular proteins follow 2.2 n^0.38 Å
        spreads = np.sort(np.linalg.eigvalsh(np.cov(places.T)))
        assert spreads[-1] > 1.5 * spreads[0]


def test_the_hinge_opens_by_1_2_radians_without_a_clash_and_moves_the_far_end_widely(protein):
    first, second = _domains(protein)
    pivot, axis = np.array(protein.pivot), np.array(protein.axis)
    spans = []
    for angle in np.linspace(0.0, 1.2, 13):
        turned = (second - pivot) @ Rotation.from_rotvec(angle * axis).as_matrix().T + pivot
        assert cdist(first[:-3], turned[3:]).min() > 5.0
        assert cdist(first, turned).min() > 3.0  # the bond across the hinge
        spans.append(float(np.linalg.norm(turned.mean(axis=0) - first.mean(axis=0))))
    assert (np.diff(spans) > 0).all()
    assert spans[-1] - spans[0] > 10.0
    assert np.linalg.norm(axis) == pytest.approx(1.0)


def test_the_pivot_is_the_middle_of_the_bond_between_the_domains(protein):
    places = protein.model.beads.positions
    assert np.array(protein.pivot) == pytest.approx((places[119] + places[120]) / 2)
    low, high = protein.linker
    assert low <= 120 < 121 <= high


def test_the_same_seed_gives_the_same_protein_and_another_seed_another():
    assert two_domain_protein(3).model.positions.tolist() == two_domain_protein(3).model.positions.tolist()
    one, other = (two_domain_protein(seed).model.beads.positions for seed in SEEDS[:2])
    assert np.abs(pdist(one) - pdist(other)).max() > 1.0


def test_written_and_read_it_is_the_same_model_with_its_helices(tmp_path, protein):
    write_model(tmp_path / "protein.cif", protein.model)
    again = read_model(tmp_path / "protein.cif")
    np.testing.assert_allclose(again.positions, protein.model.positions, atol=5.001e-4)
    np.testing.assert_array_equal(again.beads.bonded, protein.model.beads.bonded)
    assert len(again.structure.helices) == 8  # five and three


@pytest.mark.parametrize("residues", [(50, 40), (100, 101), (240, 60)])
def test_other_sizes_work_too(residues):
    protein = two_domain_protein(seed=5, residues=residues)
    assert len(protein.model.beads) == sum(residues)
    assert protein.domains == ((1, residues[0]), (residues[0] + 1, sum(residues)))


def test_domains_too_small_for_two_helices_are_refused():
    with pytest.raises(ConfigError, match="at least 40"):
        two_domain_protein(residues=(120, 12))
