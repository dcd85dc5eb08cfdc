"""A consensus map from particles with poses, in memory: slices summed, divided, compared half with half."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cryosphere.distribution import ALONE, World, find_device
from cryosphere.errors import ConfigError, ParticleError
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.division import divided, light_regularisation, wiener_regularisation
from cryosphere.maps.fsc import shell_correlations, soft_ball, volume_spectra
from cryosphere.maps.insertion import PADDING, SliceSums, bytes_of
from cryosphere.maps.masks import SMOOTHING, Mask, mask_around_particle
from cryosphere.maps.resolution import HalfMapCurves, Resolution, half_map_curves, resolution_at
from cryosphere.maps.slices import SliceMaker, find_scale
from cryosphere.memory import available_memory
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.workers import one_by_one

log = logging.getLogger(__name__)

Volume = NDArray[np.float32]

DIAMETER = 0.75  # of the field of view, where none is given: what RELION's extraction proposes
SMALLEST_BOX = 8
SMALLEST_DIAMETER = 10  # voxels
_SURE = 0.5  # skewness from which on the sign of the density is beyond doubt
_PLANES_AT_ONCE = 16


@dataclass(frozen=True)
class ReconstructionSettings:
    """How a map is made of images.

    box: voxels of the map's side, at most the images'; None: as the images.
    contrast: "white" where the protein is bright in the images, "black" where it is dark; "auto" looks at the map.
    diameter: Å, of the particle; None: 0.75 of the field of view. What lies outside is background.
    mask: (box, box, box) with values from 0 to 1, for the masked correlation; None: one is made.
    seed: of the random halves, where the particle file has none, and of random phases.
    padding: how many times their side images are enlarged before they are transformed; see `SliceMaker`.
    """

    box: int | None = None
    contrast: Literal["auto", "white", "black"] = "auto"
    diameter: float | None = None
    mask: Volume | None = None
    seed: int = 0
    padding: Literal[1, 2] = PADDING
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; it is a whole number from 0")
        if self.diameter is not None and not self.diameter > 0:
            raise ConfigError(f"diameter is {self.diameter:g} Å; it must be above 0")


@dataclass(frozen=True)
class Reconstruction:
    """A map [z, y, x] and its two independent half-maps, protein bright, and how well the halves agree.

    The centre, voxel box // 2, is the origin of the particles' poses. Grey values: the sum along a line of sight is the
    image's grey value there, without transfer function; in standard deviations of a pixel's noise where images were
    normalised by it, which `notes` say.
    """

    map: Volume
    half1: Volume
    half2: Volume
    grid: ImageGrid
    mask: Mask
    curves: HalfMapCurves
    contrast: Literal["white", "black"]
    notes: tuple[str, ...]

    def resolution(self, curve: Literal["unmasked", "corrected"] = "corrected", threshold: float = 0.143) -> Resolution:
        """Where the half-maps' correlation falls below a threshold."""
        return resolution_at(getattr(self.curves, curve), self.curves.frequencies, threshold)


def reconstruct_particles(
    table: ParticleTable,
    stacks: ImageStacks,
    rows: NDArray[np.int64] | None = None,
    settings: ReconstructionSettings | None = None,
    progress: Progress = SILENT,
    world: World = ALONE,
) -> Reconstruction:
    """The map that the images of some rows (None: all) of a table show from their poses, and its half-maps.

    Slices are laid in Fourier space by trilinear weights, times CTF, over CTF² plus what a Wiener filter adds; see
    `cryosphere.maps.insertion` and `division`. Images are read once, a few at a time: memory is bounded by the volumes.
    The processes of a job share the images; all get the result.

    Raises:
        InputError: for fewer than two images, missing poses, a box that the images have not, or too little memory.
    """
    settings = settings or ReconstructionSettings()
    rows = np.arange(len(table)) if rows is None else np.asarray(rows, dtype=np.int64)
    device = find_device(settings.device)
    with world.together():
        grid = checked_grid(table, stacks, rows, settings)
        check_memory(grid.box, world, device)
        halves, why = half_sets(table, rows, settings.seed)
        diameter = settings.diameter or DIAMETER * grid.length
        scale = find_scale(stacks, rows, diameter / 2)
        maker = SliceMaker(stacks, CtfParameters.from_table(table), grid, scale, settings.padding)
        sums = SliceSums.empty(grid.box, device)
        _add_all(maker, rows, halves, sums, (progress, world))
    _sum_over_processes(sums, world)
    volumes = _maps_for_all(sums, world)
    del sums  # by far the largest
    return _finished(volumes, grid, settings, [why, scale.note()])


def checked_grid(
    table: ParticleTable, stacks: ImageStacks, rows: NDArray[np.int64], settings: ReconstructionSettings
) -> ImageGrid:
    """The grid of the map, if it can be had from these images.

    Raises:
        ParticleError: for fewer than two images, or rotations that are none.
        ConfigError: for an impossible box or diameter.
    """
    if len(rows) < 2:
        raise ParticleError(f"{table.source}: two half-maps need at least 2 images, found {len(rows)}")
    if not np.isfinite(table.rotations[rows]).all():
        raise ParticleError(f"{table.source}: has no poses; a map needs those of a refinement")
    box = stacks.box if settings.box is None else settings.box
    if not SMALLEST_BOX <= box <= stacks.box:
        raise ConfigError(
            f"box is {box} voxels, but the images have {stacks.box} pixels: it can be from {SMALLEST_BOX} to that"
        )
    grid = ImageGrid(box, table.pixel_size * stacks.box / box)
    if settings.diameter is not None and settings.diameter < SMALLEST_DIAMETER * grid.pixel_size:
        raise ConfigError(
            f"diameter is {settings.diameter:g} Å, {settings.diameter / grid.pixel_size:.1f} voxels of the map; a "
            f"particle has at least {SMALLEST_DIAMETER}"
        )
    if settings.diameter is not None and settings.diameter > grid.length:
        raise ConfigError(
            f"diameter is {settings.diameter:g} Å; it can be up to the images' width, {grid.length:.0f} Å"
        )
    return grid


def check_memory(box: int, world: World, device: torch.device) -> None:
    """Say how much memory the volumes take, and refuse where the machine has clearly less.

    Raises:
        ConfigError: with the largest box that would do.
    """
    sharing = world.local_size if device.type == "cpu" else 1
    needed = sharing * bytes_needed(box)
    free = available_memory() if device.type == "cpu" else int(torch.cuda.mem_get_info(device)[0])
    log.info("memory: %s MB for volumes of %d voxels", f"{needed / 1e6:,.0f}", box)
    if free is not None and needed > free:
        fits = int(box * (free / needed) ** (1 / 3)) // 2 * 2
        raise ConfigError(
            f"a box of {box} voxels needs {needed / 1e9:.1f} GB of memory for its volumes, and {free / 1e9:.1f} GB are "
            f"free: crop the images (--box {max(fits, SMALLEST_BOX)}), or take a machine with more"
        )


def bytes_needed(box: int) -> int:
    """Memory for both sums and, beside them, the transform of one and the maps."""
    return bytes_of(box) + 12 * 4 * (box + 1) * box**2


def half_sets(table: ParticleTable, rows: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], str]:
    """Which half, 0 or 1, each of the rows belongs to: RELION's random subsets, or else drawn; and why."""
    given = table.half_set[rows]
    sizes = [int((given == k).sum()) for k in (1, 2)]
    if sum(sizes) == len(rows) and min(sizes) > 0:
        return given - 1, f"halves: {sizes[0]:,} and {sizes[1]:,} images, as rlnRandomSubset says"
    reason = f"drawn with seed {seed}"
    if sum(sizes):
        reason += f" (rlnRandomSubset names {sizes[0]:,} and {sizes[1]:,} of {len(rows):,} images: no use)"
    # rows that name the same image go to the same half, or the halves would share its noise
    places = np.stack([table.stack_index[rows], table.image_index[rows]])
    image = np.unique(places, axis=1, return_inverse=True)[1].reshape(-1)
    halves = (np.random.default_rng(seed).permutation(int(image.max()) + 1) % 2)[image]
    return halves.astype(np.int64), f"halves: {int((halves == 0).sum()):,} and {int(halves.sum()):,} images, {reason}"


def _add_all(
    maker: SliceMaker,
    rows: NDArray[np.int64],
    halves: NDArray[np.int64],
    sums: SliceSums,
    work: tuple[Progress, World],
) -> None:
    """Add the slices of this process's share of the rows: some are made while others are added."""
    progress, world = work
    table, device = maker.stacks.table, sums.sums.device
    rotations = torch.as_tensor(table.rotations, dtype=torch.float32)
    half_of_row = torch.zeros(len(table), dtype=torch.int64)
    half_of_row[torch.from_numpy(rows)] = torch.from_numpy(halves)
    batches = list(maker.batches(rows))
    batches = batches[world.piece(len(batches))]
    with progress.track(sum(map(len, batches)), "adding images to the map") as advance:
        made = one_by_one(lambda some: (some, maker.slices(some, device)), batches)
        for some, (products, weights) in made:
            sums.add(products, weights, rotations[some], half_of_row[some])
            advance(len(some))


def _sum_over_processes(sums: SliceSums, world: World) -> None:
    """What all processes of a job have added, on each of them, some planes at a time."""
    if world.size == 1:
        return
    for half in sums.sums:
        for planes in half.split(_PLANES_AT_ONCE):
            planes.copy_(world.sum(planes))


def _maps_for_all(sums: SliceSums, world: World) -> Tensor:
    """The map and its half-maps, (3, box, box, box), made by the first process for all."""
    volumes = torch.zeros(3, sums.box, sums.box, sums.box)
    with world.together():
        if world.is_first:
            volumes = maps_of(sums).cpu()
    world.copy_from_first([volumes])
    return volumes


def _finished(volumes: Tensor, grid: ImageGrid, settings: ReconstructionSettings, notes: list[str]) -> Reconstruction:
    """The maps with the protein bright, their mask and curves, and what is said of them."""
    bright, why = _bright(volumes, grid, settings.contrast)
    volumes = volumes * (1.0 if bright == "white" else -1.0)
    whole, half1, half2 = (np.ascontiguousarray(volume) for volume in volumes.numpy())
    if settings.mask is None:
        diameter = settings.diameter or DIAMETER * grid.length
        mask = mask_around_particle(whole, 0.5 * (half1 - half2), grid, diameter)
    else:
        mask = Mask(settings.mask, "mask: as given")
    generator = torch.Generator().manual_seed(settings.seed)
    curves = half_map_curves(volumes[1], volumes[2], torch.from_numpy(mask.values), grid, generator)
    return Reconstruction(whole, half1, half2, grid, mask, curves, bright, (*notes, why, mask.note))


def maps_of(sums: SliceSums) -> Tensor:
    """The map, filtered by how well its halves agree, and the half-maps, (3, box, box, box)."""
    first, second = (divided(sums, half, light_regularisation(sums, half)) for half in (0, 1))
    correlations = shell_correlations(volume_spectra(first[None]), volume_spectra(second[None]))[0]
    return torch.stack([divided(sums, None, wiener_regularisation(sums, correlations)), first, second])


def _bright(
    volumes: Tensor, grid: ImageGrid, wanted: Literal["auto", "white", "black"]
) -> tuple[Literal["white", "black"], str]:
    """How the images show protein, from the grey values of the maps made of them as white; and why, in words.

    Protein is compact and much denser than the solvent, which fills most of the box: of the smoothed map inside the
    images' circle, the side with the long tail is protein, hollow particles included.
    """
    if wanted != "auto":
        return wanted, f"contrast: protein is {'bright' if wanted == 'white' else 'dark'} in the images, as given"
    whole, *halves = (skewness(volume.numpy(), grid) for volume in volumes)
    found: Literal["white", "black"] = "white" if whole >= 0 else "black"
    why = (
        f"contrast: protein is {'bright' if found == 'white' else 'dark'} in the images (the map's grey values have "
        f"skewness {whole:+.2f}, {halves[0]:+.2f} and {halves[1]:+.2f} in the half-maps; --contrast overrides)"
    )
    if min(np.sign(whole) * h for h in (whole, *halves)) < _SURE:
        why += ". That is too little to be sure: look at the map, and set the contrast"
    return found, why


def skewness(volume: Volume, grid: ImageGrid) -> float:
    """Third moment of the grey values over the 3/2th power of the second, inside a ball, at 15 Å or four voxels."""
    sigma = max(SMOOTHING / grid.pixel_size, 4.0) / (np.pi * np.sqrt(2))
    inside = soft_ball(grid.box, 0.45 * grid.box, 0.0).numpy() > 0.5
    values = ndimage.gaussian_filter(volume, sigma, mode="constant")[inside].astype(np.float64)
    values = values - values.mean()
    spread = float(np.square(values).mean())
    return float((values**3).mean() / spread**1.5) if spread > 0 else 0.0
