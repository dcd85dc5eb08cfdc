"""The parts of a fit: even rotations, the map as a landscape, distinct placements, the detail of a map."""

from __future__ import annotations

import numpy as np
import pytest
import roma
import torch

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import bead_volumes
from cryosphere.maps.density_map import DensityMap
from cryosphere.maps.fitting.candidates import Placements, distinct
from cryosphere.maps.fitting.detail import estimate_detail
from cryosphere.maps.fitting.landscape import Landscape, climb, climb_reference, smoothed
from cryosphere.maps.fitting.refinement import refine
from cryosphere.maps.fitting.rotations import angles_between, even_rotations, rotations_for_spacing


@pytest.mark.parametrize("degrees", [12.0, 20.0])
def test_every_rotation_has_an_even_one_near(degrees):
    """A cubic lattice of this spacing has its holes at 0.87 of it; the spiral is allowed 1.1."""
    even = torch.as_tensor(roma.unitquat_to_rotmat(even_rotations(rotations_for_spacing(degrees))))
    torch.manual_seed(0)
    some = roma.random_rotmat(300).double()
    nearest = angles_between(some[:, None], even[None]).amin(dim=1)
    assert float(torch.rad2deg(nearest).max()) < 1.1 * degrees
    assert 0.4 * degrees < float(torch.rad2deg(nearest).mean()) < 0.6 * degrees


def test_angles_between_rotations():
    turns = roma.rotvec_to_rotmat(torch.tensor([[0.0, 0.3, 0.0], [0.0, -0.5, 0.0]]))
    assert float(angles_between(turns[0], turns[1])) == pytest.approx(0.8, abs=1e-5)


def a_landscape(seed=0):
    values = np.random.default_rng(seed).normal(size=(10, 12, 11)).astype(np.float32)
    return Landscape.of(DensityMap(values, 1.5, np.array([2.0, -3.0, 1.0]), "random")), values


def test_the_compiled_spline_climbs_as_scipy_does():
    landscape, _ = a_landscape()
    places = np.random.default_rng(1).uniform(2.5, 14.0, size=(200, 3))
    found = np.empty((200, 4), dtype=np.float32)
    climb(landscape.coefficients, places, found)
    assert np.allclose(found, climb_reference(landscape.coefficients, places), atol=2e-5)


def test_the_landscape_goes_through_the_voxels_and_is_nothing_outside():
    landscape, values = a_landscape()
    z, y, x = 4, 7, 3
    points = torch.tensor([[2.0 + 1.5 * x, -3.0 + 1.5 * y, 1.0 + 1.5 * z], [1e4, 0.0, 0.0], [float("nan"), 0.0, 0.0]])
    assert landscape.height(points).tolist() == pytest.approx([float(values[z, y, x]), 0.0, 0.0], abs=1e-4)


def test_the_slope_is_the_change_of_height():
    landscape, _ = a_landscape()
    points = torch.tensor([[8.1, 3.2, 7.7], [10.4, 5.5, 6.1]], dtype=torch.float64, requires_grad=True)
    landscape.height(points).sum().backward()
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-3
        change = (landscape.height(points + step) - landscape.height(points - step)) / 2e-3
        assert torch.allclose(points.grad[:, axis], change.detach(), atol=5e-3)  # heights are single precision


@pytest.mark.parametrize(("box", "edge"), [(48, "contours"), (49, "contours"), (48, "sharp"), (49, "sharp")])
def test_a_smoothed_map_stays_where_it_was(box, edge):
    place = torch.tensor([[[7.3, -4.1, 2.2]]], dtype=torch.float64)
    values = bead_volumes(place, torch.ones(1, dtype=torch.float64), ImageGrid(box, 1.0))[0].float().numpy()
    origin = np.array([100.0, 50.0, -20.0])
    coarse = smoothed(DensityMap(values, 1.0, origin, "bead"), 9.0, edge=edge)
    assert coarse.shape[0] < box / 2
    weights = np.maximum(coarse.values - 0.2 * coarse.values.max(), 0)
    voxels = np.argwhere(weights > 0)[:, ::-1]
    found = np.average(coarse.origin + voxels * coarse.pixel_size, axis=0, weights=weights[weights > 0])
    assert found == pytest.approx(place[0, 0].numpy() + origin + box // 2, abs=0.2)  # of voxels of 3 Å


def test_a_solid_fades_inside_and_keeps_its_outline():
    """Where only outlines count, a part of a complex gains nothing in its dense middle."""
    axis = np.arange(64) - 32
    radii = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) * 2.0
    solid = DensityMap((radii < 40).astype(np.float32), 2.0, np.full(3, -64.0), "ball")
    landscape = Landscape.of(smoothed(solid, 8.0))
    middle, rim = landscape.height(torch.tensor([[0.0, 0.0, 0.0], [35.0, 0.0, 0.0]])).tolist()
    assert rim > 0.1
    assert abs(middle) < 0.3 * rim


def test_placements_nearer_than_asked_for_are_one():
    torch.manual_seed(0)
    offsets = torch.randn(50, 3, dtype=torch.float64) * 10
    offsets -= offsets.mean(0)
    placements = Placements(
        roma.random_rotmat(300).double(), torch.randn(300, 3, dtype=torch.float64) * 4, torch.rand(300).double()
    )
    kept = distinct(placements, offsets, apart=12.0, most=1000)
    assert 1 < len(kept) < 300
    assert float(kept.scores[0]) == float(placements.scores.max())

    def deviation(first, second):
        return float((first.apply(offsets) - second.apply(offsets)).square().sum(-1).mean().sqrt())

    everyone = [placements[k : k + 1] for k in range(300)]
    chosen = [kept[k : k + 1] for k in range(len(kept))]
    for k, one in enumerate(chosen):
        assert all(deviation(one, other) >= 12.0 for other in chosen[:k])
    for one in everyone:  # whoever was left out lies near a better one
        assert any(deviation(one, other) < 12.0 + 1e-6 and other.scores >= one.scores for other in chosen)
    assert len(distinct(placements, offsets, apart=12.0, most=2)) == 2


def test_refinement_climbs_to_the_top_of_the_overlap():
    """The density of points, at their own resolution, overlaps most with the points where they are."""
    torch.manual_seed(3)
    points = torch.randn(40, 3, dtype=torch.float64) * 8
    offsets = points - points.mean(0)
    grid = ImageGrid(40, 2.0)
    values = bead_volumes(offsets[None], torch.ones(40, dtype=torch.float64), grid)[0].float().numpy()
    density_map = DensityMap(values, 2.0, np.full(3, -40.0), "points")
    turn = torch.as_tensor(roma.rotvec_to_rotmat(torch.tensor([[0.15, -0.1, 0.2]], dtype=torch.float64)))
    start = Placements(turn, torch.tensor([[1.5, -2.0, 1.0]], dtype=torch.float64), torch.zeros(1).double())
    landscape = Landscape.of(smoothed(density_map, 6.0))
    found = refine(start, offsets, torch.ones(40, dtype=torch.float64), landscape, 6.0)
    assert float((found.apply(offsets) - offsets).square().sum(-1).mean().sqrt()) < 0.1
    assert float(found.scores[0]) > float(landscape.height(start.apply(offsets)).mean())


@pytest.mark.parametrize("noise", [0.0, 1e-3, 3e-2])
def test_the_estimated_detail_is_where_noise_drowns_the_density(noise):
    """The power of white noise is the same in every shell, so the frequency where signal meets it can be computed."""
    box, voxel, count = 64, 2.0, 400
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(1, count, 3)) * 12)
    grid = ImageGrid(box, voxel)
    values = bead_volumes(points, torch.ones(count, dtype=torch.float64), grid, 2.0)[0].numpy()
    noisy = values + noise * values.max() * np.random.default_rng(1).normal(size=values.shape)
    found = estimate_detail(DensityMap(noisy.astype(np.float32), voxel, np.zeros(3), "points"))
    assert found.resolution >= 2 * voxel
    spectrum = np.abs(np.fft.fftn(values)) ** 2
    axis = np.fft.fftfreq(box, 1 / box)
    radii = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    shells = [spectrum[(radii >= s - 0.5) & (radii < s + 0.5)].mean() for s in range(32)]
    inside = values > 0.1 * values.max()  # where all signal is, while noise is everywhere
    floor = max(0.5 * (noise * values.max()) ** 2 * inside.sum(), 1e-7 * shells[4])
    expected = box * voxel / next((s for s in range(4, 32) if shells[s] < floor), 32)
    assert found.resolution == pytest.approx(expected, rel=0.35)
