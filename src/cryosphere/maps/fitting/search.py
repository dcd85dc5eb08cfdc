"""Where a model could lie in a map: every rotation of an even set, every translation, at a coarse resolution.

For each rotation the overlap of model and map is computed for all translations at once, as a product of their Fourier
transforms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from cryosphere.imaging.grid import ImageGrid, next_fast_even
from cryosphere.maps.density import AtomDensity
from cryosphere.maps.density_map import DensityMap
from cryosphere.maps.fitting.candidates import Placements, joined
from cryosphere.maps.fitting.landscape import smoothed
from cryosphere.maps.fitting.rotations import even_rotations, rotations_for_spacing
from cryosphere.progress import Progress
from cryosphere.structures.model import AtomicModel
from cryosphere.workers import one_by_one

SPACING = 15.0  # degrees between rotations
FINENESS = 0.6  # of the model's radius: the resolution at which that spacing is close enough
_VOXELS_PER_RESOLUTION = 2.5  # of the grid that is searched
_PEAKS = 2  # translations kept for each rotation
_BLOCK = 4  # voxels: of a cube of this side only the best translation is looked at
_BATCH = 8  # rotations at once on each core
_MOST_VOXELS = 96  # along a side of the grid that is searched: beyond it the resolution is lowered


@dataclass(frozen=True)
class SearchGround:
    """The map as it is searched: low-passed and coarse, in a larger box of nothing, as Fourier transform."""

    transforms: tuple[Tensor, ...]  # of each map searched, (side, side, side // 2 + 1)
    side: int  # voxels, map and empty border
    map_side: int  # voxels
    cube_side: int  # voxels of the cube that holds the model in every orientation, odd
    voxel: float  # Å
    origin: np.ndarray  # (x, y, z) Å of the first voxel


def search_resolution(radius: float, density_map: DensityMap, resolution: float) -> float:
    """Resolution in Å for the search: what the rotations' spacing and the size of the grid allow, no finer than asked.

    radius: of the model, Å.
    """
    affordable = density_map.grid.length * _VOXELS_PER_RESOLUTION / _MOST_VOXELS
    return max(resolution, FINENESS * radius, affordable)


def search(
    model: AtomicModel, maps: tuple[DensityMap, ...], resolution: float, most: int, progress: Progress
) -> list[Placements]:
    """The best placements of a model in each of several maps on one grid (a map and its mirror image), by overlap.

    The model's transform is made once for all of them. Returned for each map: `most` placements, the best first, many
    of them neighbours. The model's centre comes to lie inside the map.
    """
    centre = model.positions.mean(axis=0)
    radius = float(np.linalg.norm(model.positions - centre, axis=1).max())
    coarse = tuple(smoothed(m, resolution, voxels_per_resolution=_VOXELS_PER_RESOLUTION) for m in maps)
    ground = _ground(coarse, radius)
    grid = ImageGrid(ground.cube_side, ground.voxel)
    cube = torch.from_numpy(AtomDensity(model, grid, resolution).volume(model.positions - centre))
    quaternions = even_rotations(rotations_for_spacing(SPACING))
    rotations = torch.as_tensor(roma.unitquat_to_rotmat(quaternions))
    batches = torch.split(rotations, _BATCH)
    found: list[list[Placements]] = [[] for _ in maps]
    with progress.track(len(rotations), "searching") as advance:
        for batch, peaks in zip(batches, one_by_one(lambda some: _peaks(some, cube, ground), batches), strict=True):
            for place, peak in zip(found, peaks, strict=True):
                place.append(peak)
            advance(len(batch))
    return [joined(place).ranked()[:most] for place in found]


def _ground(coarse: tuple[DensityMap, ...], radius: float) -> SearchGround:
    """A border as wide as the model's radius: what leaves the map on one side must not come in on the other.

    Of a model larger than the ground the ends are cut off. The maps are moved by half the model's cube, so that an
    overlap stands where the cube's middle comes, not its corner.
    """
    first = coarse[0]
    map_side = first.shape[0]
    radius_voxels = int(np.ceil(radius / first.pixel_size)) + 1
    side = next_fast_even(map_side + min(radius_voxels, map_side))
    while side % _BLOCK:
        side = next_fast_even(side + 1)
    cube_side = min(2 * radius_voxels + 1, side - 1)
    transforms = []
    for one in coarse:
        padded = torch.zeros(side, side, side)
        padded[:map_side, :map_side, :map_side] = torch.from_numpy(one.values)
        transforms.append(torch.fft.rfftn(padded.roll((cube_side // 2,) * 3, dims=(0, 1, 2))))
    return SearchGround(tuple(transforms), side, map_side, cube_side, first.pixel_size, first.origin)


def _peaks(rotations: Tensor, cube: Tensor, ground: SearchGround) -> list[Placements]:
    """The best translations of each rotation in each map."""
    count, side = len(rotations), ground.side
    sampled_at = torch.cat([rotations.mT, torch.zeros(count, 3, 1, dtype=rotations.dtype)], dim=2).to(cube.dtype)
    shape = (count, 1, *cube.shape)
    places = affine_grid(sampled_at, list(shape), align_corners=False)
    turned = grid_sample(cube.expand(shape), places, align_corners=False)[:, 0]
    padded = torch.zeros(count, side, side, side)
    padded[:, : len(cube), : len(cube), : len(cube)] = turned
    transform = torch.fft.rfftn(padded, dim=(1, 2, 3)).conj()
    return [_best_translations(rotations, transform * one, ground) for one in ground.transforms]


def _best_translations(rotations: Tensor, product: Tensor, ground: SearchGround) -> Placements:
    """The highest overlaps, each the best of its block of voxels; the model's centre stays inside the map."""
    side = ground.side
    overlap = torch.fft.irfftn(product, s=(side, side, side), dim=(1, 2, 3))
    blocks = -(-ground.map_side // _BLOCK)
    inside = slice(0, blocks * _BLOCK)
    cut = overlap[:, inside, inside, inside].unflatten(1, (blocks, _BLOCK)).unflatten(3, (blocks, _BLOCK))
    cut = cut.unflatten(5, (blocks, _BLOCK))
    chosen = cut.amax(dim=(2, 4, 6)).flatten(1).topk(_PEAKS, dim=1).indices  # (count, peaks)
    corner = torch.stack([chosen // blocks**2, chosen // blocks % blocks, chosen % blocks], dim=-1)
    rows = torch.arange(len(rotations))[:, None]
    within = cut.permute(0, 1, 3, 5, 2, 4, 6)[rows, corner[..., 0], corner[..., 1], corner[..., 2]].flatten(2)
    scores, place = within.max(dim=-1)
    step = torch.stack([place // _BLOCK**2, place // _BLOCK % _BLOCK, place % _BLOCK], dim=-1)
    voxels = (corner * _BLOCK + step).flip(-1).double()  # x, y, z
    centres = voxels * ground.voxel + torch.from_numpy(ground.origin)
    return Placements(
        rotations[:, None].expand(-1, _PEAKS, 3, 3).reshape(-1, 3, 3),
        centres.reshape(-1, 3),
        scores.reshape(-1).double(),
    )
