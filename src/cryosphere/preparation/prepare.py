"""From particles and a model file to a folder that training takes as it is: the one call behind the command."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cryosphere.doctor.sample import chosen_rows, take_sample
from cryosphere.errors import ConfigError, MapError, ParticleError, StructureError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.model_fsc import model_map_fsc
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import ParticleTable
from cryosphere.preparation.choices import (
    Choices,
    choose_box,
    choose_contrast,
    choose_low_pass,
    choose_mask,
    choose_segments,
)
from cryosphere.preparation.config_text import Source
from cryosphere.preparation.consensus import Consensus, ImagesForMap, consensus_from_file, consensus_from_images
from cryosphere.preparation.folder import require_free_place
from cryosphere.preparation.frame import require_same_hand, require_same_place
from cryosphere.preparation.placement import Placement, place_model
from cryosphere.preparation.result import Preparation
from cryosphere.preparation.wording import HAND_MEND, doubts, figures_of_hand
from cryosphere.preparation.writing import FILES, write
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.model import AtomicModel, read_model
from cryosphere.structures.placement import check_inside_box

log = logging.getLogger(__name__)

SAMPLE = 1000  # images that are compared with the model's projections
_MARGIN = 10.0  # Å between the outermost bead and what counts as background


@dataclass(frozen=True)
class PreparationSettings:
    """What the user may decide.

    density_map: a consensus map of the particles; None: one is made of their images. segments: at most; None: the
    default. mask: whether images are compared inside a disc around the particle only. images: how many the map is made
    of; None: all, or as many as take minutes. allow_other_hand: go on although map and poses seem to be of the other
    hand. contrast: whether protein is bright (white) in the images; auto: found out.
    """

    density_map: Path | None = None
    datadir: Path | None = None
    segments: int | None = None
    mask: bool = False
    images: int | None = None
    contrast: Literal["auto", "white", "black"] = "auto"
    seed: int = 0
    allow_other_hand: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; it is a whole number from 0")
        if self.images is not None and self.density_map is not None:
            raise ConfigError(
                "--images says how many images the map is made of, --map gives one: leave one of them out"
            )


def prepare(
    particles: Sequence[Path],
    model: Path,
    outdir: Path,
    settings: PreparationSettings | None = None,
    *,
    progress: Progress = SILENT,
    overwrite: bool = False,
) -> Preparation:
    """Place a model in the consensus map of its particles, choose settings from that, and write both to a folder.

    particles: a .star or .cs files. model: PDB or mmCIF, placed anywhere. outdir: gets model.cif, config.yaml, map.mrc,
    fsc.csv and prepare.html, all or none of them.

    Raises:
        InputError: for files that cannot be used or do not belong together, a wrong hand (unless allowed), or an
            `outdir` that holds something already (unless `overwrite`, and then only what a preparation wrote).
    """
    settings = settings or PreparationSettings()
    require_free_place(outdir, FILES, overwrite=overwrite)
    table = read_particles(list(particles))
    stacks = ImageStacks(table, settings.datadir)
    atoms = read_model(model)
    _require_usable(table, stacks, atoms, settings, model)
    found = find(table, stacks, atoms, settings, progress)
    check_inside_box(found.placement.chosen.model, stacks.box, table.pixel_size, source=model)
    for warning in found.warnings:
        log.warning("%s", warning)
    source = Source(tuple(particles), settings.datadir, len(table), settings.seed)
    write(found, outdir, source, model)
    return found


def find(
    table: ParticleTable, stacks: ImageStacks, atoms: AtomicModel, settings: PreparationSettings, progress: Progress
) -> Preparation:
    """All that is found out, with nothing written.

    Raises:
        InputError: see `prepare`.
    """
    centre = np.average(atoms.beads.positions, axis=0, weights=atoms.beads.amplitudes)
    radius = float(np.linalg.norm(atoms.beads.positions - centre, axis=1).max())
    if settings.density_map is None:
        how = ImagesForMap(settings.images, settings.contrast, settings.seed)
        consensus = consensus_from_images(table, stacks, radius, how, progress)
    else:
        consensus = consensus_from_file(settings.density_map, table, stacks)
    sample = take_sample(table, stacks, chosen_rows(len(table), SAMPLE, settings.seed), radius + _MARGIN, progress)
    placement = place_model(atoms, consensus.density_map, consensus.shift, sample, progress)
    if settings.density_map is not None:
        require_same_hand(consensus.density_map, placement, sample)
    if placement.hand == "wrong" and not settings.allow_other_hand:
        raise MapError(
            f"{consensus.density_map.source}: the mirror image fits the model better: {figures_of_hand(placement)}. "
            f"{HAND_MEND}. To go on all the same: --allow-other-hand"
        )
    if settings.density_map is not None and placement.hand != "wrong":
        require_same_place(consensus.density_map, placement, sample)
    return _with_choices(consensus, placement, settings, table, stacks)


def _with_choices(
    consensus: Consensus,
    placement: Placement,
    settings: PreparationSettings,
    table: ParticleTable,
    stacks: ImageStacks,
) -> Preparation:
    images, placed = ImageGrid(stacks.box, table.pixel_size), placement.chosen.model
    curve = model_map_fsc(placed, consensus.density_map)
    outside = placement.before.in_map is None
    low_pass, crossing = choose_low_pass(curve, images)
    box = choose_box(None if low_pass.value is None else float(low_pass.value), images)
    choices = Choices(
        low_pass=low_pass,
        box=box,
        contrast=choose_contrast(placement.chosen, settings.contrast),
        segments=choose_segments(settings.segments, placed.beads),
        mask=choose_mask(placed.beads, images) if settings.mask else None,
        crossing=crossing,
    )
    assert isinstance(box.value, int)
    return Preparation(
        consensus=consensus,
        placement=placement,
        curve=curve,
        curve_before=None if outside else model_map_fsc(placement.before.model, consensus.density_map),
        choices=choices,
        pixel_size=images.length / box.value,
        images=len(table),
        warnings=doubts(placement),
    )


def _require_usable(
    table: ParticleTable, stacks: ImageStacks, atoms: AtomicModel, settings: PreparationSettings, model: Path
) -> None:
    """What can be seen to be wrong before any work."""
    if not np.isfinite(table.rotations).all():
        raise ParticleError(f"{table.source}: has no poses; those of a refinement are needed")
    if settings.segments is not None and not 1 <= settings.segments <= len(atoms.beads):
        raise ConfigError(
            f"{settings.segments} segments are asked for (--segments); it can be from 1 to the model's "
            f"{len(atoms.beads):,} residues"
        )
    if len(atoms.positions) < 3:
        raise StructureError(f"{model}: has {len(atoms.positions)} atoms; that is too little to be placed in a map")
    centre = np.average(atoms.beads.positions, axis=0, weights=atoms.beads.amplitudes)
    radii = np.linalg.norm(atoms.beads.positions - centre, axis=1)
    if np.median(radii) > stacks.box * table.pixel_size / 2:  # half of it would lie outside wherever it is placed
        check_inside_box(atoms.translated(-centre), stacks.box, table.pixel_size, source=model)
