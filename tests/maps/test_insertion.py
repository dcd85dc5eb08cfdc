"""Slices laid in Fourier space: against sums written out, against tensors, and as the density that they came from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import roma
import torch

from cryosphere.fourier import integer_frequencies
from cryosphere.maps import insertion_tensors
from cryosphere.maps.division import divided, light_regularisation
from cryosphere.maps.fsc import shell_correlations, volume_spectra
from cryosphere.maps.insertion import SliceSums, slabs_of_equal_work


def turned(count, seed):
    quaternions = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return roma.unitquat_to_rotmat(quaternions / quaternions.norm(dim=1, keepdim=True))


def random_slices(count, side, seed=0):
    """Spectra of images of noise, as real images have them, with weights of their own."""
    generator = torch.Generator().manual_seed(seed)
    products = torch.fft.rfft2(torch.randn(count, side, side, generator=generator))
    weights = torch.rand(count, side, side // 2 + 1, generator=generator)
    weights[:, :, 0] = 0.5 * (weights[:, :, 0] + weights[:, -torch.arange(side) % side, 0])  # as a CTF's square has
    return products, weights


def added(box, side, rotations, *, dtype=torch.float32, threads=1):
    sums = SliceSums.empty(box, dtype=dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        sums.add(*random_slices(len(rotations), side), rotations, torch.arange(len(rotations)) % 2)
    finally:
        torch.set_num_threads(before)
    return sums


def whole_sums(products, weights, rotations, box):
    """Every frequency of the full spectrum of every image, laid on the full grid one voxel at a time."""
    side = weights.shape[1]
    width, values, found = 2 * box + 1, {}, {}
    rows, columns = integer_frequencies(side)
    for image, row, column in itertools.product(range(len(products)), range(side), range(side // 2 + 1)):
        ky, kx = int(rows[row, 0]), int(columns[0, column])
        if 4 * (kx**2 + ky**2) > (side - 1) ** 2:
            continue
        for mirrored in (1, -1) if kx else (1,):  # column 0 of a half-spectrum holds both
            value, weight = complex(products[image, row, column]), float(weights[image, row, column])
            value = value if mirrored == 1 else value.conjugate()
            place = rotations[image].T.numpy() @ np.array([kx, ky, 0]) * mirrored * (2 * box / side) + box
            corner = np.floor(place).astype(int)
            for tap in itertools.product((0, 1), repeat=3):
                share = np.prod(np.where(tap, place - corner, 1 - (place - corner)))
                at = tuple(corner + tap)
                values[at] = values.get(at, 0) + share * value
                found[at] = found.get(at, 0) + share * weight
    full = np.zeros((2, width, width, width), dtype=complex)
    for (x, y, z), value in values.items():
        full[0, z, y, x], full[1, z, y, x] = value, found[x, y, z]
    return full


@pytest.mark.parametrize(("box", "side"), [(6, 6), (7, 7), (5, 10)])
@pytest.mark.parametrize("way", ["compiled", "tensors"])
def test_slices_add_up_to_the_full_sum_over_frequencies_and_their_mirror_images(box, side, way):
    rotations = torch.cat([turned(4, 3), torch.eye(3, dtype=torch.float64)[None]])  # one slice lies in z = 0
    products, weights = random_slices(5, side)
    sums = SliceSums.empty(box, dtype=torch.float64)
    if way == "compiled":
        sums.add(products, weights, rotations, torch.zeros(5, dtype=torch.int64))
    else:
        frames = rotations[:, :2] * (2 * box / side)
        insertion_tensors.add(products, weights, frames, torch.zeros(5, dtype=torch.int64), sums.sums)
    expected = whole_sums(products, weights, rotations, box)
    for z in range(box + 1):
        values, found = sums.plane(0, z)
        # float32 images and weights: 10⁻⁷ of values up to some tens
        assert np.allclose(values.numpy(), expected[0, box + z], atol=1e-5)
        assert np.allclose(found.numpy(), expected[1, box + z].real, atol=1e-6)


@pytest.mark.parametrize(("box", "side"), [(16, 16), (15, 15), (16, 32), (13, 26)])
def test_compiled_code_adds_what_tensors_add(box, side):
    rotations = turned(30, 1)
    found = added(box, side, rotations)
    expected = SliceSums.empty(box)
    halves = torch.arange(30) % 2
    insertion_tensors.add(*random_slices(30, side), rotations[:, :2] * (2 * box / side), halves, expected.sums)
    # single precision: some ten additions to each voxel
    assert torch.allclose(found.sums, expected.sums, atol=1e-5 * float(expected.sums.abs().max()))
    assert float(found.sums[1].abs().sum()) > 0


def test_the_sums_do_not_depend_on_the_number_of_threads():
    rotations = turned(25, 2)
    one, three = (added(20, 40, rotations, threads=threads) for threads in (1, 3))
    assert torch.equal(one.sums, three.sums)


@pytest.mark.parametrize("planes", [7, 65])
@pytest.mark.parametrize("parts", [1, 2, 5, 64])
def test_slabs_hold_every_plane_once(planes, parts):
    held = [z for slab in slabs_of_equal_work(planes, parts) for z in range(planes)[slab]]
    assert held == list(range(planes))


def test_a_matrix_that_is_no_rotation_is_refused():
    with pytest.raises(ValueError, match="no rotation"):
        added(8, 8, torch.full((2, 3, 3), torch.nan))
    with pytest.raises(ValueError, match="no rotation"):
        added(8, 8, 1.1 * torch.eye(3).expand(2, 3, 3))


@pytest.mark.parametrize("box", [32, 33])
def test_slices_of_points_become_the_points_by_their_analytic_transform(box):
    """A point at r has the transform exp(-2πi k·r): its slice at (kx, ky) has the phase of (A r)_xy."""
    points = torch.tensor([[6.3, -4.1, 2.2], [-5.0, 0.0, 7.5], [0.4, 8.0, -3.3]], dtype=torch.float64)  # voxels
    heights = torch.tensor([1.0, 2.0, 1.5], dtype=torch.float64)
    rotations = turned(900, 4)
    side = 2 * box
    rows, columns = integer_frequencies(side)
    seen = (rotations @ points.T).mT[..., :2]  # (n, points, 2)
    phase = columns * seen[..., 0, None, None] + rows * seen[..., 1, None, None]
    slices = (heights[:, None, None] * torch.exp(-2j * torch.pi / side * phase)).sum(1).to(torch.complex64)
    sums = SliceSums.empty(box)
    sums.add(slices, torch.ones(slices.shape), rotations, torch.zeros(900, dtype=torch.int64))
    found = divided(sums, 0, light_regularisation(sums, 0))
    axis = torch.fft.fftfreq(box, dtype=torch.float64)
    k = torch.stack(torch.meshgrid(axis, axis, axis[: box // 2 + 1].abs(), indexing="ij")[::-1], dim=-1)
    spectrum = (heights * torch.exp(-2j * torch.pi * (k @ (points + box // 2).T))).sum(-1)
    curve = shell_correlations(volume_spectra(found[None].double()), spectrum[None])[0]
    # up to 0.8 of Nyquist; 900 views leave hardly a gap there
    assert curve[: int(0.4 * box) + 1].min() > 0.99
    low = volume_spectra(found[None].double())[0, 0, 0, 1] * box**1.5
    # grey values too; next to the origin slices crowd on one side of a voxel, and its trilinear mean is 3 % off
    assert abs(low - spectrum[0, 0, 1]) < 0.05 * abs(spectrum[0, 0, 1])
