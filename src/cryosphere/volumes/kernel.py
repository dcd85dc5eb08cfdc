"""Density at chosen latents by kernel regression: images weighted by how near their conformation is, and backprojected.

Every image of a run has a latent, and the run's structure at it. For the map of one conformation an image counts
1 - (d / h)², d being the distance of its structure from that one's (see `distances`) and h the bandwidth (see
`bandwidth`). Neither the model's density nor its residues enter: the model only says which images belong together.
That is also what such a map cannot show: latents were found from both halves of the images with one model, so that
noise that resembles the model's motion sorts images in both halves alike.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere.analysis.run import Run
from cryosphere.distribution import ALONE, World, find_device
from cryosphere.errors import ConfigError, ParticleError
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.insertion import SliceSums, bytes_of
from cryosphere.maps.masks import mask_around_particle
from cryosphere.maps.reconstruction import (
    DIAMETER,
    ReconstructionSettings,
    check_memory,
    checked_grid,
    half_sets,
    maps_of,
)
from cryosphere.maps.resolution import half_map_curves
from cryosphere.maps.slices import SliceMaker, find_scale
from cryosphere.memory import available_memory
from cryosphere.particles.stacks import ImageStacks
from cryosphere.progress import SILENT, Progress
from cryosphere.volumes.bandwidth import (
    FEWEST,
    Bandwidth,
    Ladder,
    chosen_bandwidth,
    epanechnikov,
    prediction_scores,
)
from cryosphere.volumes.distances import structure_distances
from cryosphere.volumes.laying import BinLayer, KernelLayer, lay
from cryosphere.volumes.state import StateVolume

log = logging.getLogger(__name__)

SELECTION_BOX = 64  # voxels at most of the maps that bandwidths are compared with
UNEQUAL = 3  # times as many images in one half as in the other are no independent check any more
_SHARE_OF_MEMORY = 0.25  # of what is free, for sums of several conformations at once
_LEAST_MEMORY = 2_000_000_000  # bytes, where nothing is known


@dataclass(frozen=True)
class KernelSettings:
    """How kernel volumes are made of a run's images.

    box: voxels of the maps' side, at most the images'; None: as the images. bandwidth: Å; None: found by predicting the
    other half's images. diameter: Å, of the particle; None: what the run took for it. datadir: where to look for stacks
    first. seed: of the halves where the particle file has none, and of random phases. by_shell: a bandwidth for each
    shell of frequencies, which makes what does not move sharper, and what does more blurred.
    """

    box: int | None = None
    bandwidth: float | None = None
    diameter: float | None = None
    datadir: Path | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    by_shell: bool = False

    def __post_init__(self) -> None:
        if self.bandwidth is not None and self.by_shell:
            raise ConfigError("a bandwidth was given (--bandwidth), so that none is sought for each shell (--by-shell)")
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise ConfigError(f"bandwidth is {self.bandwidth:g} Å; it must be above 0")


@dataclass(frozen=True)
class KernelVolume:
    """One conformation's density, and which images it was made of.

    within: images within `state.bandwidth`; effective: how many images of equal weight would be as noisy;
    bandwidths: (shells,) Å, of each shell of one cycle per box.
    """

    state: StateVolume
    within: int
    effective: float
    bandwidths: NDArray[np.float64]


@dataclass(frozen=True)
class SortedImages:
    """Images with poses, and how far each one's conformation is from those wanted."""

    stacks: ImageStacks
    distances: NDArray[np.float32]  # (n, k) Å
    sign: float  # 1 where protein is bright in the images, -1 where it is dark
    diameter: float  # Å, of the particle


def regress_states(
    run: Run, targets: NDArray[np.float32], settings: KernelSettings | None = None, progress: Progress = SILENT
) -> list[KernelVolume]:
    """The density that the run's images show at each of the latents (k, L), in that order.

    Images are read twice: once to compare bandwidths, on a small grid, and once for the maps. The processes of a job
    share the images; all get the result.

    Raises:
        InputError: for missing stacks or poses, an impossible box, too little memory, halves of very different size,
            or too few images.
    """
    settings = settings or KernelSettings()
    images = run.model.config.images
    with run.model.world.together():
        stacks = ImageStacks(run.particles, settings.datadir)
        check_halves(stacks, settings.seed)  # what is wrong with them shows before the images are encoded
    run.encode()
    sign = -1.0 if images.contrast == "black" else 1.0
    width = stacks.box * run.particles.pixel_size
    diameter = settings.diameter or (2 * images.background_radius if images.background_radius else DIAMETER * width)
    distances = structure_distances(run, targets)
    found = SortedImages(stacks, distances, sign, diameter)
    return list(regressed(found, targets, settings, progress, run.model.world))


def check_halves(stacks: ImageStacks, seed: int) -> tuple[NDArray[np.int64], str]:
    """The half of each image, 0 or 1, and in words how halves were chosen.

    Raises:
        ParticleError: if one half has several times as many images as the other.
    """
    table = stacks.table
    halves, why = half_sets(table, np.arange(len(table)), seed)
    sizes = np.bincount(halves, minlength=2)
    if sizes.max() > UNEQUAL * sizes.min():
        raise ParticleError(
            f"{table.source}: the half-sets are of very different size: {sizes[0]:,} and {sizes[1]:,} images "
            "(rlnRandomSubset). Half-maps of such halves say little: assign them anew, or remove the column, so that "
            "halves are drawn at random"
        )
    return halves, why


def regressed(
    images: SortedImages,
    targets: NDArray[np.float32],
    settings: KernelSettings,
    progress: Progress = SILENT,
    world: World = ALONE,
) -> Iterator[KernelVolume]:
    """What `regress_states` gives, of images whose distances are known already; one after another."""
    table, rows = images.stacks.table, np.arange(len(images.stacks.table))
    device = find_device(settings.device)
    how = ReconstructionSettings(box=settings.box, diameter=settings.diameter, seed=settings.seed)
    with world.together():
        halves, why = check_halves(images.stacks, settings.seed)
        grid = checked_grid(table, images.stacks, rows, how)
        check_enough(images.distances, halves, settings.bandwidth)
        check_memory(grid.box, world, device)
        scale = find_scale(images.stacks, rows, images.diameter / 2)
        maker = SliceMaker(images.stacks, CtfParameters.from_table(table), grid, scale)
    for note in (why, scale.note()):
        log.info("%s", note)
    job = _Job(images, halves, maker, (progress, world), device)
    chosen = _bandwidths(job, settings)
    for some in _at_once(len(targets), bytes_of(grid.box), job):
        layers = [
            KernelLayer(SliceSums.empty(grid.box, device), halves, images.distances[:, k], chosen[k]) for k in some
        ]
        lay(maker, layers, job.work, "adding images to the maps")
        for k in some:
            yield _finished(job, layers.pop(0), targets[k], settings.seed)


@dataclass(frozen=True)
class _Job:
    images: SortedImages
    halves: NDArray[np.int64]
    maker: SliceMaker
    work: tuple[Progress, World]
    device: torch.device


def check_enough(distances: NDArray[np.float32], halves: NDArray[np.int64], bandwidth: float | None) -> None:
    """Make sure that each conformation has images enough, within the bandwidth where one is given.

    Raises:
        ParticleError: with how many there are.
    """
    where = f"within {bandwidth:g} Å" if bandwidth is not None else "in all, at any distance,"
    for number, column in enumerate(distances.T):
        near = column < bandwidth if bandwidth is not None else np.ones(len(column), dtype=bool)
        counts = [int((near & (halves == half)).sum()) for half in (0, 1)]
        if min(counts) < FEWEST:
            way_out = "Choose a wider bandwidth (--bandwidth), or leave it out" if bandwidth else "Use more images"
            raise ParticleError(
                f"volume {number}: there are too few images for a kernel volume: {where} {counts[0]} of one half and "
                f"{counts[1]} of the other, where {FEWEST} of each are the least. {way_out}"
            )


def _bandwidths(job: _Job, settings: KernelSettings) -> list[Bandwidth]:
    """The bandwidths of all volumes: as given, or found on a grid of SELECTION_BOX voxels at most."""
    distances, box = job.images.distances, job.maker.grid.box
    shells = box // 2 + 1
    if settings.bandwidth is not None:
        given = Bandwidth(np.full(shells, settings.bandwidth), settings.bandwidth)
        return [given] * distances.shape[1]
    grid = ImageGrid(min(box, SELECTION_BOX), job.maker.grid.length / min(box, SELECTION_BOX))
    small = SliceMaker(job.maker.stacks, job.maker.ctf, grid, job.maker.scale)
    ladders = [Ladder.of(column, job.halves) for column in distances.T]
    found = []
    most = 2 * max(len(ladder.edges) for ladder in ladders)
    for some in _at_once(len(ladders), bytes_of(grid.box, most), job):
        layers = [
            BinLayer.of(
                ladders[k],
                distances[:, k],
                job.halves,
                SliceSums.empty(grid.box, job.device, sets=2 * len(ladders[k].edges)),
            )
            for k in some
        ]
        lay(small, layers, job.work, "comparing bandwidths")
        for k in some:
            scores = prediction_scores(layers.pop(0).sums, ladders[k])
            best = chosen_bandwidth(scores, ladders[k].bandwidths)
            found.append(best.to(shells) if settings.by_shell else Bandwidth(np.full(shells, best.whole), best.whole))
    return found


def _at_once(count: int, each: int, job: _Job) -> Sequence[range]:
    """Numbers from 0 to `count` in groups whose sums, of so many bytes each, fit in memory together."""
    on_processor = job.device.type == "cpu"
    free = available_memory() if on_processor else int(torch.cuda.mem_get_info(job.device)[0])
    sharing = job.work[1].local_size if on_processor else 1
    budget = _LEAST_MEMORY if free is None else _SHARE_OF_MEMORY * free / sharing
    budget = float(job.work[1].gather(np.array([float(budget)])).min())  # all processes take the same groups
    size = max(1, int(budget // each))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _finished(job: _Job, layer: KernelLayer, target: NDArray[np.float32], seed: int) -> KernelVolume:
    """The maps of a layer, with the protein bright, their mask and curves."""
    grid = job.maker.grid
    volumes = maps_of(layer.sums).cpu() * job.images.sign
    whole, half1, half2 = (np.ascontiguousarray(volume) for volume in volumes.numpy())
    mask = mask_around_particle(whole, 0.5 * (half1 - half2), grid, min(job.images.diameter, grid.length))
    generator = torch.Generator().manual_seed(seed)
    curves = half_map_curves(volumes[1], volumes[2], torch.from_numpy(mask.values), grid, generator)
    width = layer.bandwidth.whole
    weights = epanechnikov(layer.distances, width)
    state = StateVolume(np.asarray(target), whole, half1, half2, grid, mask, curves, float(weights.sum()), width)
    effective = float(weights.sum() ** 2 / np.square(weights).sum())
    return KernelVolume(state, int(np.count_nonzero(weights)), effective, layer.bandwidth.of_shell)
