"""Density at latents by a network that learns it from the images alone, at the run's fixed latents and poses."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.analysis.run import Run, checked_latents
from cryosphere.analysis.traversal import cluster
from cryosphere.clock import now
from cryosphere.distribution import ALONE, World, find_device
from cryosphere.errors import ConfigError, ParticleError
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.maps.insertion import bytes_of
from cryosphere.maps.reconstruction import DIAMETER, Reconstruction, ReconstructionSettings, reconstruct_particles
from cryosphere.maps.slices import SliceMaker, find_scale
from cryosphere.memory import available_memory
from cryosphere.particles.stacks import ImageStacks
from cryosphere.progress import SILENT, Progress
from cryosphere.volumes.bandwidth import FEWEST
from cryosphere.volumes.decoder_maps import Halves, departures, signal_amplitudes, state_of
from cryosphere.volumes.decoder_network import FourierNetwork, NetworkSize
from cryosphere.volumes.decoder_sums import Band, Group, add_up
from cryosphere.volumes.decoder_training import Evidence, Training, train
from cryosphere.volumes.decoder_validation import Held, keep_what_is_foretold
from cryosphere.volumes.kernel import check_halves
from cryosphere.volumes.state import StateVolume

log = logging.getLogger(__name__)

GROUPS = 64  # of images with nearly the same latent, at most
_FEWEST_GROUPS = 16  # to which their number is lowered before the band is
_IMAGES_IN_A_GROUP = 8  # on average, at least
_LEAST_BAND = 4  # cycles per field of view
_MEMORY = 4e9  # bytes that the groups' sums may take, and at most this share of what is free:
_SHARE_OF_MEMORY = 0.25
_HELD_AT_ONCE = 1.5  # halves' sums: while those of one half are added up, the other's half of the frequencies is there


@dataclass(frozen=True)
class DecoderSettings:
    """How the decoder is trained, and on which grid.

    epochs: how often training meets all frequencies, each time with all images. kept: of what the network of one half
    has learned, what the other half's images show, too ("foretold"), or everything ("all"). learning_rate: of Adam, at
    its highest.
    box: voxels of the maps' side, at most the images'; None: as the images. diameter: Å, of the particle; None: what
    the run took for it. datadir: where to look for stacks first. seed: of the halves where the particle file has none,
    of the networks, and of random phases.
    """

    epochs: int = 30
    learning_rate: float = 1e-2
    size: NetworkSize = field(default_factory=NetworkSize)
    box: int | None = None
    diameter: float | None = None
    datadir: Path | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    kept: Literal["foretold", "all"] = "foretold"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs is {self.epochs}; the decoder needs at least 1")
        if not 0 < self.learning_rate < 1:
            raise ConfigError(f"learning_rate is {self.learning_rate:g}; it must be above 0 and below 1")
        sizes = self.size.width, self.size.points, self.size.components
        if min(sizes) < 1:
            raise ConfigError(f"width, points and components of the network are {sizes}; each must be at least 1")


@dataclass(frozen=True)
class SeenImages:
    """Images with poses and latents.

    sign: 1 where protein is bright in them, -1 where it is dark. diameter: Å, of the particle.
    """

    stacks: ImageStacks
    latents: NDArray[np.float32]  # (n, latent)
    sign: float
    diameter: float


def decode_states(
    run: Run, targets: NDArray[np.float32], settings: DecoderSettings | None = None, progress: Progress = SILENT
) -> list[StateVolume]:
    """Maps of the states with the latents `targets` (k, latent), as a network has learned them from the run's images.

    The paper's remedy for the bias of an atomic model (B.2.4): the latents and poses of the run are kept, and density
    is learned anew, without the model. One network for each half of the images learns what they have beside the map of
    them all; see `decoder_sums` for the misfit, and `decoder_network` for the network. The processes of a job share the
    images.

    Of each principal component of what a network has learned, as much is kept as foretells the other half's images (see
    `decoder_validation`): one number for each of at most 16 components, all that one half-map has of the other half's
    images. Beyond that the half-maps are as independent as the run's latents, which one model found from both halves.
    What a network has not learned of a state stays as in the consensus, in both halves alike: where motion has blurred
    the consensus, they agree on the blur. So their correlation tells how noisy the map is, not how much of it is of
    this state alone.

    Raises:
        InputError: for latents of another dimension, missing stacks or poses, halves of very different size, an
            impossible box, or too little memory.
    """
    settings = settings or DecoderSettings()
    targets = checked_latents(np.atleast_2d(np.asarray(targets)), run.latent_dim, "the latents of the volumes")
    images = run.model.config.images
    with run.model.world.together():
        stacks = ImageStacks(run.particles, settings.datadir)
    width = stacks.box * run.particles.pixel_size
    diameter = settings.diameter or (2 * images.background_radius if images.background_radius else DIAMETER * width)
    seen = SeenImages(stacks, run.latents, -1.0 if images.contrast == "black" else 1.0, diameter)
    return decoded(seen, targets, settings, progress, run.model.world)


def decoded(
    images: SeenImages,
    targets: NDArray[np.float32],
    settings: DecoderSettings,
    progress: Progress = SILENT,
    world: World = ALONE,
) -> list[StateVolume]:
    """What `decode_states` gives, of images whose latents are known already."""
    table, device = images.stacks.table, find_device(settings.device)
    rows = np.arange(len(table))
    width = images.stacks.box * table.pixel_size
    how = ReconstructionSettings(
        box=settings.box,
        contrast="white" if images.sign > 0 else "black",
        diameter=settings.diameter or min(images.diameter, width),
        seed=settings.seed,
        device=settings.device,
    )
    with world.together():
        halves, why = check_halves(images.stacks, settings.seed)
        if (fewest := int(np.bincount(halves, minlength=2).min())) < FEWEST:
            raise ParticleError(
                f"{table.source}: {fewest} images in one half, and a network needs {FEWEST} in each. Use more images"
            )
    consensus = reconstruct_particles(table, images.stacks, rows, how, progress, world)
    budget = float(world.gather(np.array([_memory(world)])).min())  # all processes take the same groups
    with world.together():
        scale = find_scale(images.stacks, rows, (how.diameter or images.diameter) / 2)
        maker = SliceMaker(images.stacks, CtfParameters.from_table(table), consensus.grid, scale, padded=1)
        group, band = plan(images.latents, consensus, budget / _HELD_AT_ONCE)
    for note in (why, scale.note()):
        log.info("%s", note)
    training = HalfTraining(maker, images, group, band, signal_amplitudes(consensus, band), settings)
    z = torch.from_numpy(targets).to(device)
    found = []
    told = [training.evidence(rows[halves == half], (device, progress, world)) for half in (0, 1)]
    for half, start in enumerate((consensus.half1, consensus.half2)):
        network = training.network(told[half], told[1 - half], half, (device, progress, world))
        parts = departures(network, z, training.amplitudes, band, consensus.grid.box)
        found.append(torch.from_numpy(start) + images.sign * parts)
    pairs = zip(targets, *found, strict=True)
    return [state_of(Halves(*pair), consensus, images.diameter, len(rows), settings.seed) for pair in pairs]


def plan(latents: NDArray[np.float32], consensus: Reconstruction, budget: float) -> tuple[Group, Band]:
    """Which images of nearly one latent go together, and which frequencies are learned: as `budget` bytes allow.

    Frequencies go up to the consensus map's resolution: where all images together show nothing, those of one state
    show less.
    """
    grid, finest = consensus.grid, consensus.resolution().angstrom
    most = (grid.box - 1) // 2
    cycles = _LEAST_BAND if math.isinf(finest) else min(max(math.ceil(grid.length / finest), _LEAST_BAND), most)
    count = max(2, min(GROUPS, len(latents) // _IMAGES_IN_A_GROUP))
    while bytes_of(2 * cycles + 1, count) > budget and (count > _FEWEST_GROUPS or cycles > _LEAST_BAND):
        if count > _FEWEST_GROUPS:
            count = max(_FEWEST_GROUPS, 3 * count // 4)
        else:
            cycles -= 1
    labels = cluster(latents, count).labels
    group, band = Group(int(labels.max()) + 1, labels), Band.up_to(cycles, grid.box, grid.length)
    log.info(
        "decoder: %d groups of images, %.3f of the latents' variance within them; frequencies up to %.1f Å; %.0f MB",
        group.count,
        _share_within(latents, group),
        grid.length / band.cycles,
        bytes_of(band.box, group.count) / 1e6,
    )
    return group, band


def _memory(world: World) -> float:
    """Bytes that the sums of this process may take."""
    free = available_memory()
    return _MEMORY if free is None else min(_MEMORY, _SHARE_OF_MEMORY * free / world.local_size)


def _share_within(latents: NDArray[np.float32], group: Group) -> float:
    """How much of the latents' variance is lost where each image has its group's mean."""
    left = latents - group_means(latents, group.of_image, group.count)[group.of_image]
    whole = float(np.square(latents - latents.mean(axis=0)).sum())
    return float(np.square(left).sum()) / whole if whole > 0 else 0.0


def group_means(latents: NDArray[np.float32], of_image: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """(count, latent): the mean latent of each group's images; of a group without any, the mean of all."""
    sizes = np.bincount(of_image, minlength=count)
    sums = np.stack([np.bincount(of_image, column, minlength=count) for column in latents.T], axis=-1)
    means = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], latents.mean(axis=0))
    return means.astype(np.float32)


@dataclass(frozen=True)
class HalfTraining:
    """What the trainings of both halves' networks have in common."""

    maker: SliceMaker
    images: SeenImages
    group: Group
    band: Band
    amplitudes: Tensor  # (shells,) of the signal
    settings: DecoderSettings

    def evidence(self, rows: NDArray[np.int64], work: tuple[torch.device, Progress, World]) -> Held:
        """What the images of these rows, one half of all, say of each group."""
        device, latents = work[0], self.images.latents
        sums = add_up(self.maker, rows, self.group, self.band, work)
        evidence = Evidence.of(sums, self.amplitudes.to(device), self.band)
        z = torch.from_numpy(group_means(latents[rows], self.group.of_image[rows], self.group.count)).to(device)
        sizes = np.bincount(self.group.of_image[rows], minlength=self.group.count).astype(np.float32)
        return Held(evidence, z, torch.from_numpy(sizes).to(device))

    def network(self, own: Held, other: Held, half: int, work: tuple[torch.device, Progress, World]) -> FourierNetwork:
        """The network of one half of the images, held to what the other half says of it."""
        device, progress, world = work
        latents, settings = self.images.latents, self.settings
        seed = 2 * settings.seed + half
        middle_and_spread = torch.from_numpy(np.stack([latents.mean(axis=0), latents.std(axis=0)]))
        network = FourierNetwork(middle_and_spread, self.images.diameter / 2, settings.size, seed).to(device)
        how = Training(settings.epochs, settings.learning_rate, seed)
        start = now(device)
        with progress.track(how.epochs, f"training the decoder of half {half + 1}") as advance:
            train(network, own.evidence, own.z, how, advance)
        seconds, images = now(device) - start, int(own.images.sum())
        log.info(
            "decoder of half %d: %d epochs of %s images in %.1f s, %s images/s",
            half + 1,
            how.epochs,
            f"{images:,}",
            seconds,
            f"{how.epochs * images / max(seconds, 1e-9):,.0f}",
        )
        if settings.kept == "foretold":
            shares = keep_what_is_foretold(network, other)
            log.info(
                "decoder of half %d: the other half's images show %.1f of the %d components that it learned",
                half + 1,
                float(shares.sum()),
                len(shares),
            )
        world.copy_from_first(network.parameters())
        return network.eval()
