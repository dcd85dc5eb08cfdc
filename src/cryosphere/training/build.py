"""From settings to the model's objects."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn

from cryosphere.errors import ConfigError
from cryosphere.fourier import low_pass, soft_disc
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model.decoder import Decoder
from cryosphere.model.encoders import FreeEncoder, LiftedEncoder, PixelEncoder
from cryosphere.model.lifting import LiftingGrid
from cryosphere.model.occupancy import AlongChain, Occupancy, OfSegments, Prior
from cryosphere.model.segmentation import Part, Segmentation
from cryosphere.model.vae import BaseStructure, HeterogeneityModel, Objective
from cryosphere.particles.preprocess import edge_mask
from cryosphere.structures.beads import Beads
from cryosphere.structures.neighbours import close_pairs
from cryosphere.training.config import DEFAULT_SEGMENTS, Config, PartSettings
from cryosphere.training.data import Split
from cryosphere.training.moving_parts import start_count

log = logging.getLogger(__name__)

FAINT = 1e-3  # of a bead's amplitude: not worth comparing (3.4 Å for beads of 2 Å)


def build_model(
    config: Config,
    beads: Beads,
    grid: ImageGrid,
    particles: int,
    device: torch.device,
    *,
    whole_images: bool = False,
) -> HeterogeneityModel:
    """The model as it is before training; its starting weights depend on the seed alone.

    `grid` is that of the preprocessed images; the model works on a coarser one where beads hold no finer detail.
    `particles` is the number in the data set (the free encoder has a latent for each). `whole_images`: compare every
    pixel of the images, also finer detail than beads hold.
    """
    objective = _objective(config, grid, particles)
    if whole_images:
        objective = replace(objective, finest=None)
    if objective.finest is not None:
        grid = grid.cropped_to(objective.finest)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        segmentation = Segmentation(
            torch.from_numpy(along_chain(beads)),
            _parts(config, beads),
            temperature=config.segmentation.temperature,
            prior_sd=config.segmentation.prior_sd,
        )
        encoder = _encoder(config, beads, grid, particles)
        decoder = Decoder(
            config.encoder.latent_dim,
            segmentation.count,
            config.decoder.hidden,
            translation_scale=config.decoder.translation_scale,
            rotation_scale=config.decoder.rotation_scale,
            pivot=config.decoder.pivot,
        )
        decoder.occupancy = _occupancy(config, beads, segmentation.count)
    model = HeterogeneityModel(
        _base_structure(beads, config.loss.elastic_cutoff),
        encoder,
        decoder,
        segmentation,
        SpreadProjector(grid, config.beads.sigma, device),
        objective,
    )
    return model.to(device)


def along_chain(beads: Beads) -> NDArray[np.int64]:
    """Residue index of every bead, (beads,); a ligand has that of the polymer residue nearest to it.

    Ligands stand at the end of a file, far along the chain from the residues that hold them; they move with those.
    """
    index = np.arange(len(beads))
    ligand = beads.kind == "ligand"
    if ligand.any() and not ligand.all():
        polymer = index[~ligand]
        index[ligand] = polymer[cKDTree(beads.positions[polymer]).query(beads.positions[ligand])[1]]
    return index


def parts_of(config: Config, beads: Beads) -> list[Part]:
    """The stretches of residues that are cut into segments; a range that goes beyond its chain is warned of.

    Raises:
        ConfigError: for an unknown chain, an empty or overlapping range, or more segments than residues.
    """
    parts = _parts(config, beads)
    for settings in config.segmentation.parts:
        _warn_beyond_chain(settings, beads)
    return parts


def _parts(config: Config, beads: Beads) -> list[Part]:
    settings = config.segmentation
    if not settings.parts:
        name, count = "count", settings.count or DEFAULT_SEGMENTS
        if count == "auto":
            name, count = "start", settings.start or start_count(len(beads))
        if count > len(beads):
            raise ConfigError(f"segmentation.{name} is {count}, but the model has only {len(beads)} residues")
        places = along_chain(beads)
        return [Part(int(places.min()), int(places.max()), count)]
    parts = [_part(part, beads) for part in settings.parts]
    ordered = sorted(parts, key=lambda part: part.first)
    for before, after in pairwise(ordered):
        if after.first <= before.last:
            raise ConfigError("segmentation.parts overlap: each residue can belong to one part only")
    return parts


def _in_chain(settings: PartSettings, beads: Beads) -> NDArray[np.int64]:
    """Index of every residue of the part's chain, ligands aside."""
    return np.flatnonzero((beads.chain == settings.chain) & np.isin(beads.kind, ("protein", "nucleic", "modified")))


def _warn_beyond_chain(settings: PartSettings, beads: Beads) -> None:
    numbers = beads.number[_in_chain(settings, beads)]
    low, high = int(numbers.min()), int(numbers.max())
    first = low if settings.first is None else settings.first
    last = high if settings.last is None else settings.last
    if first < low or last > high:
        log.warning(
            "segmentation.parts: residues %d to %d of chain %s are asked for, but the chain runs from %d to %d in the "
            "model; %d to %d are cut",
            *(first, last, settings.chain, low, high, max(first, low), min(last, high)),
        )


def _part(settings: PartSettings, beads: Beads) -> Part:
    in_chain = _in_chain(settings, beads)
    if not len(in_chain):
        known = ", ".join(chain or "(blank)" for chain in dict.fromkeys(map(str, beads.chain)))
        raise ConfigError(f"segmentation.parts names chain {settings.chain!r}; the model has {known}")
    numbers = beads.number[in_chain]
    first = int(numbers.min()) if settings.first is None else settings.first
    last = int(numbers.max()) if settings.last is None else settings.last
    inside = in_chain[(numbers >= first) & (numbers <= last)]
    if len(inside) < settings.segments:
        raise ConfigError(
            f"segmentation.parts: residues {first}-{last} of chain {settings.chain} are {len(inside)} residues of the "
            f"model, too few for {settings.segments} segments (the chain runs from {numbers.min()} to {numbers.max()})"
        )
    _require_stretch(inside, settings, beads)
    means = None
    if settings.means is not None:
        if min(settings.means) < first or max(settings.means) > last:
            raise ConfigError(f"segmentation.parts: means of chain {settings.chain} lie outside {first}-{last}")
        means = tuple(float(x) for x in np.interp(settings.means, beads.number[inside], inside))
    return Part(int(inside[0]), int(inside[-1]), settings.segments, means, settings.widths)


def _require_stretch(inside: NDArray[np.int64], settings: PartSettings, beads: Beads) -> None:
    """Refuse residues that do not follow each other in the model, or whose numbers do not rise."""
    between = np.setdiff1d(np.arange(inside[0], inside[-1] + 1), inside)
    foreign = between[beads.kind[between] != "ligand"]
    if len(foreign):
        k = foreign[0]
        raise ConfigError(
            f"segmentation.parts: the residues of chain {settings.chain} are not one stretch of the model: "
            f"{beads.name[k]} {beads.number[k]} of chain {beads.chain[k]} stands between them. Name several parts"
        )
    if (np.diff(beads.number[inside]) < 0).any():
        raise ConfigError(
            f"segmentation.parts: residue numbers of chain {settings.chain} do not rise along the chain, so a range of "
            "them is ambiguous; renumber the model"
        )


def _encoder(config: Config, beads: Beads, grid: ImageGrid, particles: int) -> nn.Module:
    settings = config.encoder
    if settings.kind == "free":
        return FreeEncoder(particles, settings.latent_dim)
    if settings.kind == "mlp":
        mask = soft_disc(grid.box, settings.mask_radius * grid.box / 2, 0.0) > 0.5
        keep = low_pass(grid.box, grid.pixel_size, config.loss.low_pass)
        return PixelEncoder(mask, keep, settings.hidden, settings.latent_dim)
    grid_points = settings.grid or LiftingGrid.per_axis(beads.positions)
    points = len(LiftingGrid.around(beads.positions, grid_points).points)
    return LiftedEncoder(points, settings.hidden, settings.latent_dim)


def _occupancy(config: Config, beads: Beads, segments: int) -> Occupancy | None:
    settings = config.occupancy
    if settings.kind == "off":
        return None
    bonded = _pairs(beads.bonded)
    along_chain = settings.per == "residue"
    places = AlongChain(len(beads), bonded, settings.window) if along_chain else OfSegments(segments)
    hidden = settings.hidden if settings.kind == "latent" else None
    prior = Prior(bonded, absence=settings.absence, step=settings.step)
    return Occupancy(places, config.encoder.latent_dim, hidden, prior=prior)


def _base_structure(beads: Beads, cutoff: float) -> BaseStructure:
    positions = torch.as_tensor(beads.positions, dtype=torch.float32)
    _, first, second = close_pairs(positions[None], cutoff)
    return BaseStructure(
        positions,
        torch.as_tensor(beads.amplitudes, dtype=torch.float32),
        _pairs(beads.bonded),
        torch.stack([first, second], dim=1),
    )


def _pairs(bonded: NDArray[np.int64]) -> Tensor:
    return torch.as_tensor(np.sort(np.asarray(bonded).reshape(-1, 2), axis=1), dtype=torch.int64)


def _objective(config: Config, grid: ImageGrid, particles: int) -> Objective:
    loss = config.loss
    return Objective(
        kl=loss.kl,
        low_pass=loss.low_pass,
        mask_radius=loss.mask_radius,
        clash_distance=loss.clash_distance,
        image_fraction=float(edge_mask(grid.box, config.images.soft_edge).square().mean()),
        particles=len(Split.of(config, particles).train),
        finest=finest_compared(config),
    )


def finest_compared(config: Config) -> float | None:
    """Å of the finest detail that images are compared at; None: all there is, as the paper's loss has it."""
    return None if config.loss.kl == "paper" else finest_detail(config.beads.sigma)


def finest_detail(sigma: float) -> float:
    """Å of the finest detail that beads of width sigma hold: beyond, their amplitude is under FAINT of the highest."""
    return math.pi * sigma * math.sqrt(2 / math.log(1 / FAINT))
