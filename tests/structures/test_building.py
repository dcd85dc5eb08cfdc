"""Chains built around a Cα trace, against a crystal structure and textbook geometry."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from cryosphere.structures.building import (
    CALPHA_DISTANCE,
    SIDE_CHAIN_NAMES,
    build_chain,
    dihedral,
    peptide_plane,
    place_atom,
)


def _helix(count: int) -> np.ndarray:
    """Cα atoms of an α-helix: 100° and 1.5 Å per residue on a radius of 2.29 Å."""
    angle = np.deg2rad(100.0) * np.arange(count)
    return np.stack((2.288 * np.cos(angle), 2.288 * np.sin(angle), 1.5 * np.arange(count)), axis=1)


def test_the_backbone_of_a_crystal_structure_comes_back_from_its_calpha_atoms(shared_data):
    chain = gemmi.read_structure(str(shared_data / "models/gemmi/1orc.pdb"))[0][0].get_polymer()
    real = {name: np.array([residue[name][0].pos.tolist() for residue in chain]) for name in ("N", "CA", "C", "O")}
    built = build_chain(real["CA"], ["ALA"] * len(chain))
    for name in ("N", "C", "O"):
        found = np.array([residue.positions[residue.atoms.index(name)] for residue in built])
        distance = np.linalg.norm(found - real[name], axis=1)
        assert np.median(distance) < 0.3  # a peptide plane turned by 10° moves its oxygen by 0.3 Å
        assert (distance < 1.0).mean() > 0.85  # wrong planes are rare


def test_an_ideal_helix_of_calpha_atoms_gets_the_dihedrals_of_an_alpha_helix():
    built = build_chain(_helix(16), ["ALA"] * 16)
    place = {name: np.array([residue.positions[residue.atoms.index(name)] for residue in built])
             for name in ("N", "CA", "C", "O")}  # fmt: skip
    phi = dihedral(place["C"][:-1], place["N"][1:], place["CA"][1:], place["C"][1:])
    psi = dihedral(place["N"][:-1], place["CA"][:-1], place["C"][:-1], place["N"][1:])
    assert phi[1:-1] == pytest.approx(-60.0, abs=10.0)  # textbook: -57, -47; planes turn in steps of 6°
    assert psi[1:-1] == pytest.approx(-45.0, abs=10.0)
    hydrogen_bonds = np.linalg.norm(place["O"][:-4] - place["N"][4:], axis=1)
    assert hydrogen_bonds == pytest.approx(3.0, abs=0.4)


def test_amino_acids_are_left_handed():
    for residue in build_chain(_helix(8), ["ALA"] * 8):
        n, ca, c, cb = (residue.positions[residue.atoms.index(name)] for name in ("N", "CA", "C", "CB"))
        assert np.dot(np.cross(n - ca, c - ca), cb - ca) > 0  # as in every L-amino acid


@pytest.mark.parametrize("name", SIDE_CHAIN_NAMES)
def test_a_residue_has_the_heavy_atoms_of_its_name_at_bonding_distances(name):
    residue = build_chain(_helix(5), ["ALA", "ALA", name, "ALA", "ALA"])[2]
    weight = gemmi.find_tabulated_residue(name)
    heavy = weight.weight - 1.008 * weight.hydrogen_count - 15.999  # a water goes off when the chain is made
    assert sum(gemmi.Element(atom[0]).weight for atom in residue.atoms) == pytest.approx(heavy, abs=0.1)
    distances = np.linalg.norm(residue.positions[:, None] - residue.positions[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert distances.min(axis=1) == pytest.approx(1.4, abs=0.2)  # C=O 1.23 ... C-C 1.53
    assert (distances < 2.0).sum() == 2 * (len(residue.atoms) - 1)  # a tree of bonds: no ring, no collision


def test_the_peptide_plane_has_the_bonds_it_was_made_of_and_neighbours_at_their_distance():
    plane = {name: np.array(place) for name, place in peptide_plane().items()}
    assert np.linalg.norm(plane["C"]) == pytest.approx(1.525)
    assert np.linalg.norm(plane["O"] - plane["C"]) == pytest.approx(1.231)
    assert np.linalg.norm(plane["N"] - plane["C"]) == pytest.approx(1.329)
    assert np.linalg.norm(plane["CA"] - plane["N"]) == pytest.approx(1.458)
    assert plane["CA"] == pytest.approx([CALPHA_DISTANCE, 0.0], abs=1e-3)
    assert abs(CALPHA_DISTANCE - 3.80) < 0.02


def test_a_placed_atom_has_the_distance_angle_and_dihedral_it_was_placed_with():
    first, second, third = np.random.default_rng(0).normal(size=(3, 3))
    placed = place_atom(first, second, third, 1.5, (110.0, np.array([-120.0, 45.0])))
    assert np.linalg.norm(placed - third, axis=1) == pytest.approx(1.5)
    assert dihedral(first, second, third, placed) == pytest.approx([-120.0, 45.0])
