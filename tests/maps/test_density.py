"""Volumes of structures: against image formation, against the formula, and as other programs read them."""

from __future__ import annotations

import math

import gemmi
import mrcfile
import numpy as np
import pytest
import torch

from cryosphere.errors import StructureError
from cryosphere.fourier import from_spectrum, to_spectrum, truncate
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import ReferenceProjector, SpreadProjector
from cryosphere.maps import density
from cryosphere.maps.density import AtomDensity, bead_volumes
from cryosphere.maps.files import write_map
from cryosphere.structures.model import model_from_structure


def random_beads(structures=2, beads=50, half_width=30.0):
    generator = torch.Generator().manual_seed(1)
    positions = (torch.rand(structures, beads, 3, generator=generator, dtype=torch.float64) - 0.5) * 2 * half_width
    return positions, 30 + 60 * torch.rand(beads, generator=generator, dtype=torch.float64)


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("box", [48, 49])
@pytest.mark.parametrize("pixel_size", [1.0, 2.0, 3.1])
def test_a_volume_summed_along_z_is_the_image_at_the_identity_pose(box, pixel_size):
    grid = ImageGrid(box, pixel_size)
    positions, amplitudes = random_beads(half_width=0.2 * grid.length)
    projected = bead_volumes(positions, amplitudes, grid).sum(dim=1)
    literal = from_spectrum(ReferenceProjector(grid)(positions[..., :2], amplitudes), box)
    # what a Gaussian of 1.3 samples per sigma loses when its integral along z is taken as a sum: 3·10⁻¹⁵
    assert relative(projected, literal) < 1e-10
    fast = from_spectrum(SpreadProjector(grid, dtype=torch.float64)(positions[..., :2], amplitudes), box)
    assert relative(projected, fast) < 5e-4  # what the fast projector promises


def test_beads_beyond_the_border_are_cut_as_the_projector_cuts_them():
    grid = ImageGrid(32, 2.0)
    positions, amplitudes = random_beads(half_width=45.0)
    positions[..., 2] *= 0.2  # along the line of sight a projector has no border
    projected = bead_volumes(positions, amplitudes, grid).sum(dim=1)
    literal = from_spectrum(ReferenceProjector(grid)(positions[..., :2], amplitudes), 32)
    assert relative(projected, literal) < 1e-10


def test_one_bead_is_its_gaussian_around_the_voxel_it_falls_on():
    grid, sigma, electrons = ImageGrid(33, 1.5), 3.0, 46.0
    place = torch.tensor([[[4.2, -3.1, 7.7]]], dtype=torch.float64)
    volume = bead_volumes(place, torch.tensor([electrons], dtype=torch.float64), grid, sigma)[0]
    z, y, x = 20, 14, 19
    squared = sum(((i - 16) * 1.5 - c) ** 2 for i, c in zip((x, y, z), (4.2, -3.1, 7.7), strict=True))
    expected = electrons * math.exp(-squared / (2 * sigma**2)) / (2 * math.pi * sigma**2) ** 1.5 * 1.5**3
    assert volume[z, y, x].item() == pytest.approx(expected, rel=1e-12)
    assert volume.sum().item() == pytest.approx(electrons, rel=1e-6)  # the box holds 4.5 sigma on every side


def test_beads_laid_in_pieces_are_the_same_volume(monkeypatch):
    grid = ImageGrid(24, 3.0)
    positions, amplitudes = random_beads()
    whole = bead_volumes(positions, amplitudes, grid)
    monkeypatch.setattr(density, "NUMBERS_AT_ONCE", 7 * 2 * 24**2)
    assert torch.allclose(bead_volumes(positions, amplitudes, grid), whole, rtol=1e-12)


def test_amplitudes_may_differ_between_structures():
    grid = ImageGrid(24, 3.0)
    positions, amplitudes = random_beads()
    each = bead_volumes(positions[:1].expand(2, -1, -1), torch.stack([amplitudes, 2 * amplitudes]), grid)
    assert torch.allclose(each[1], 2 * each[0])


def test_no_beads_are_an_empty_volume():
    empty = bead_volumes(torch.zeros(2, 0, 3), torch.zeros(0), ImageGrid(8, 2.0))
    assert empty.shape == (2, 8, 8, 8)
    assert empty.abs().max() == 0


def atoms_at(*places, elements=None):
    """A model of one residue with atoms at these places."""
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    chain = structure[0].add_chain(gemmi.Chain("A"))
    residue = gemmi.Residue()
    residue.name, residue.seqid = "ALA", gemmi.SeqId("1")
    for k, place in enumerate(places):
        atom = gemmi.Atom()
        atom.name, atom.element = f"C{k}" if k else "CA", gemmi.Element((elements or ["C"] * len(places))[k])
        atom.pos, atom.occ, atom.b_iso = gemmi.Position(*place), 1.0, 90.0
        residue.add_atom(atom)
    chain.add_residue(residue)
    return model_from_structure(structure, "atoms")


@pytest.mark.parametrize("box", [40, 41])
@pytest.mark.parametrize("resolution", [4.0, 12.0])
def test_an_atom_lies_where_the_frame_says_whatever_the_grid(box, resolution):
    place = (6.4, -9.1, 3.3)
    volume = AtomDensity(atoms_at(place), ImageGrid(box, 2.0), resolution).volume([place])
    spectrum = np.fft.fftn(np.fft.ifftshift(volume))  # phases about voxel box // 2
    slowest = (spectrum[0, 0, 1], spectrum[0, 1, 0], spectrum[1, 0, 0])  # one wave over the box along x, y, z
    centre = [-np.angle(value) / (2 * np.pi) * box * 2.0 for value in slowest]
    assert centre == pytest.approx(place, abs=0.01)


@pytest.mark.parametrize("voxel", [1.0, 3.0])
def test_atoms_weigh_as_their_scattering_factor_at_zero_angle(voxel):
    """Carbon 2.5092 Å and sulphur 5.161 Å: International Tables for Crystallography, volume C, table 4.3.1.1."""
    model = atoms_at((0, 0, 0), elements=["C"]), atoms_at((0, 0, 0), elements=["S"])
    carbon, sulphur = (
        AtomDensity(m, ImageGrid(round(60 / voxel), voxel), 6.0).volume(m.positions).sum(dtype=np.float64) * voxel**3
        for m in model
    )
    assert carbon == pytest.approx(2.509, rel=0.01)
    assert sulphur == pytest.approx(5.161, rel=0.01)


def test_atoms_outside_the_box_are_left_out_and_come_back_when_they_return():
    inside, outside = (3.0, 0.0, -2.0), (3.0, 45.0, -2.0)
    made = AtomDensity(atoms_at(inside), ImageGrid(40, 2.0), 8.0)
    before = made.volume([inside])
    assert np.abs(made.volume([outside])).max() == 0
    assert np.abs(made.volume([inside], np.array([False]))).max() == 0
    assert before.max() > 0  # each volume has memory of its own
    assert (made.volume([inside]) == before).all()


def test_positions_of_another_model_are_refused():
    with pytest.raises(StructureError, match="positions have shape"):
        AtomDensity(atoms_at((0, 0, 0)), ImageGrid(16, 2.0)).volume(np.zeros((2, 3)))


@pytest.mark.parametrize("box", [16, 17])
def test_a_written_map_lies_over_its_model(tmp_path, box):
    volume = np.zeros((box, box, box), dtype=np.float32)
    volume[box // 2, box // 2 + 1, box // 2 + 3] = 1.0
    write_map(tmp_path / "a.mrc", volume, 2.5)
    with mrcfile.open(tmp_path / "a.mrc") as file:
        assert file.is_volume()
        assert (file.data == volume).all()
        assert (file.voxel_size.x, file.voxel_size.y, file.voxel_size.z) == (2.5, 2.5, 2.5)
        origin = np.array([file.header.origin.x, file.header.origin.y, file.header.origin.z])
    assert (origin + 2.5 * np.argwhere(volume)[0][::-1]).tolist() == [7.5, 2.5, 0.0]
    assert mrcfile.validate(tmp_path / "a.mrc")


def test_a_map_has_the_origin_it_is_given(tmp_path):
    write_map(tmp_path / "a.mrc", np.zeros((4, 4, 4)), 1.0, origin=(1.0, 2.0, 3.0))
    with mrcfile.open(tmp_path / "a.mrc", header_only=True) as file:
        assert file.header.origin.item() == (1.0, 2.0, 3.0)


def test_a_map_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="three axes"):
        write_map(tmp_path / "a.mrc", np.zeros((4, 4)), 1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fine", "coarse"), [(24, 12), (36, 12), (26, 13), (39, 13)])
def test_a_volume_on_a_coarser_grid_is_seen_from_every_side_as_its_image_on_a_coarser_grid(fine, coarse):
    volume = torch.from_numpy(np.random.default_rng(0).normal(size=(fine, fine, fine)))
    found = density.lowest_frequencies(volume, coarse)
    for axis in range(3):
        image = from_spectrum(truncate(to_spectrum(volume.sum(axis)), fine, coarse), coarse)
        assert torch.allclose(found.sum(axis), image * (coarse / fine), atol=1e-12)
