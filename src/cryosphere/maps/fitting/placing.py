"""Placing a model in a map: search, refinement, ranking, the other hand, and the flexible step, in memory."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.errors import ConfigError, StructureError
from cryosphere.maps.density_map import DensityMap, require_cubic, require_density
from cryosphere.maps.fitting.agreement import Agreement, affordable
from cryosphere.maps.fitting.candidates import Placements, distinct
from cryosphere.maps.fitting.detail import Detail, estimate_detail
from cryosphere.maps.fitting.flexible import STEPS, Placed, bond_lengths, move_segments
from cryosphere.maps.fitting.landscape import Landscape, smoothed
from cryosphere.maps.fitting.refinement import refine
from cryosphere.maps.fitting.results import Fit, FitSettings, FlexibleStep, Solution
from cryosphere.maps.fitting.rotations import angles_between
from cryosphere.maps.fitting.search import search, search_resolution
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.model import AtomicModel

log = logging.getLogger(__name__)

_FOUND, _COARSE, _FINE, _LISTED = 1000, 150, 24, 6  # placements kept after search, thinning, each refinement
_APART = 0.5  # of the resolution, RMSD: placements nearer to each other are the same
_POINTS_COARSE, _POINTS_FINE = 600, 4000  # atoms that stand for all while many placements are refined
_POINTS_LAST = 40_000
_LOCAL = 3.0  # times the resolution: where a local fit starts, so that it finds its way from that far
_LARGEST = 1.1  # of the map's side: a model whose inner nine tenths are wider than that is not of this map


def fit_model(
    model: AtomicModel, density_map: DensityMap, settings: FitSettings | None = None, progress: Progress = SILENT
) -> Fit:
    """Where a model lies in a map: the rigid placement, from anywhere, whose density correlates best with the map's.

    All rotations and translations are searched at a coarse resolution; the best and sufficiently different ones climb
    the overlap of their atoms with the map at finer and finer resolution, and are ranked by correlation at the last.
    The mirrored map is searched with the same transforms. Nothing is ever placed in a mirrored map.

    Raises:
        MapError: for a map that is no cube or shows no density, or a resolution that it cannot hold.
        StructureError: for a model far larger than the map, or, where it is to start from where it stands, outside it.
        ConfigError: for an impossible setting.
    """
    settings = settings or FitSettings()
    began = time.monotonic()
    require_cubic(density_map)
    require_density(density_map)
    detail = _detail(density_map, settings)
    task = _Task.of(model, density_map, detail.resolution)
    _require_room(task)
    agreement = Agreement(model, density_map, detail.resolution)
    before = agreement.of(model.positions)
    log.info("%s: compared at %.3g Å, %s", density_map.source, detail.resolution, detail.reason)
    if settings.start == "where it stands" and before is None:
        raise StructureError(f"{model.name}: lies outside {density_map.source}; let it be searched for everywhere")
    here, mirrored = _both_hands(task, settings, progress)
    solutions = _ranked(task, here, agreement)
    other = None
    if mirrored is not None:
        other = _ranked(task, mirrored, Agreement(model, density_map.mirrored(), detail.resolution))[0]
    placed, flexible = _flexible(task, solutions[0], agreement, settings.segments, progress)
    found = Fit(
        positions=placed.atoms,
        map_centre=density_map.centre,
        resolution=detail.resolution,
        resolution_reason=detail.reason,
        before=before,
        best=solutions[0],
        runners_up=solutions[1:],
        mirrored=None if other is None else other.correlation,
        flexible=flexible,
        seconds=time.monotonic() - began,
        mirrored_best=other,
    )
    _warn_of_hand(found, density_map.source)
    return found


def _warn_of_hand(found: Fit, source: str) -> None:
    if found.hand_is_doubtful:
        log.warning(
            "%s: its mirror image fits the model better (correlation %.3f against %.3f): the map's hand is probably "
            "wrong. Mirror the map, and the particles' poses with it; the model was placed in the map as it is",
            *(source, found.mirrored, found.best.correlation),
        )


@dataclass(frozen=True)
class _Task:
    """What every step needs of model and map."""

    model: AtomicModel
    density_map: DensityMap
    resolution: float  # Å
    centre: NDArray[np.float64]  # (3,) of the model's atoms
    offsets: Tensor  # (n_atoms, 3) float64, of the atoms from it
    weights: Tensor  # (n_atoms,) float64, atomic numbers

    @classmethod
    def of(cls, model: AtomicModel, density_map: DensityMap, resolution: float) -> _Task:
        centre = model.positions.mean(axis=0)
        numbers = [site.atom.element.atomic_number for site in model.structure[0].all()]
        weights = torch.tensor(numbers, dtype=torch.float64).clamp_min(1.0)
        return cls(model, density_map, resolution, centre, torch.from_numpy(model.positions - centre), weights)

    @property
    def radius(self) -> float:
        """Distance from the centre in Å within which nine tenths of the atoms lie."""
        return float(np.quantile(self.offsets.norm(dim=1).numpy(), 0.9))

    def some(self, most: int) -> tuple[Tensor, Tensor]:
        """Offsets and weights of at most `most` atoms, evenly spread along the file."""
        every = max(1, math.ceil(len(self.offsets) / most))
        return self.offsets[::every], self.weights[::every]

    def thinned(self, placements: Placements, resolution: float, most: int) -> Placements:
        """The best placements that differ."""
        return distinct(placements, self.some(_POINTS_COARSE)[0], _APART * resolution, most)


def _detail(density_map: DensityMap, settings: FitSettings) -> Detail:
    if settings.segments < 0:
        raise ConfigError(f"the number of segments must not be negative, found {settings.segments}")
    if settings.resolution is None:
        detail = estimate_detail(density_map)
        finest = affordable(detail.resolution, density_map)
        return detail if finest == detail.resolution else Detail(finest, "the finest that a box of this size allows")
    finest, coarsest = 2 * density_map.pixel_size, density_map.grid.length / 4
    if not finest <= settings.resolution * 1.001 or not settings.resolution <= coarsest:
        raise ConfigError(
            f"{density_map.source} can be looked at with a resolution from {finest:.4g} Å, two of its voxels, to "
            f"{coarsest:.4g} Å, a quarter of its box; found {settings.resolution:g} Å"
        )
    finest = affordable(settings.resolution, density_map)
    asked = finest == settings.resolution
    return Detail(finest, "as asked for" if asked else "the finest that a box of this size allows")


def _require_room(task: _Task) -> None:
    length = task.density_map.grid.length
    if 2 * task.radius > _LARGEST * length:
        raise StructureError(
            f"{task.model.name}: is about {2 * task.radius:.0f} Å across, the box of {task.density_map.source} only "
            f"{length:.0f} Å. Is this the model of this map, and is the map's pixel size of "
            f"{task.density_map.pixel_size:.4g} Å right?"
        )


def _anywhere(task: _Task, maps: tuple[DensityMap, ...], progress: Progress) -> list[Placements]:
    """The best placements in each map, refined up to the resolution."""
    coarse = search_resolution(task.radius, task.density_map, task.resolution)
    found = search(task.model, maps, coarse, _FOUND, progress)
    between = math.sqrt(coarse * task.resolution)
    stages = [(coarse, _POINTS_COARSE, _FINE, 30), (task.resolution, _POINTS_LAST, _LISTED, 40)]
    if coarse > 1.5 * task.resolution:
        stages.insert(1, (between, _POINTS_FINE, _LISTED, 30))
    refined = []
    with progress.track(len(maps) * len(stages), "refining") as advance:
        for one, placements in zip(maps, found, strict=True):
            kept = task.thinned(placements, coarse, _COARSE)
            for resolution, points, most, steps in stages:
                landscape = Landscape.of(smoothed(one, resolution))
                kept = refine(kept, *task.some(points), landscape, resolution, steps=steps)
                kept = task.thinned(kept, resolution, most)
                advance(1)
            refined.append(kept)
    return refined


def _both_hands(task: _Task, settings: FitSettings, progress: Progress) -> tuple[Placements, Placements | None]:
    """Refined placements in the map, and in the mirrored map if that is looked at."""
    mirrored = (task.density_map.mirrored(),) if settings.looks_at_both_hands else ()
    if settings.start == "anywhere":
        found = _anywhere(task, (task.density_map, *mirrored), progress)
        return found[0], found[1] if mirrored else None
    return _from_where_it_stands(task, task.density_map), _anywhere(task, mirrored, progress)[0] if mirrored else None


def _from_where_it_stands(task: _Task, density_map: DensityMap) -> Placements:
    one = torch.eye(3, dtype=torch.float64)[None]
    placed = Placements(one, torch.from_numpy(task.centre)[None], torch.zeros(1, dtype=torch.float64))
    for times in (_LOCAL, math.sqrt(_LOCAL), 1.0):
        resolution = times * task.resolution
        landscape = Landscape.of(smoothed(density_map, resolution))
        placed = refine(placed, *task.some(_POINTS_LAST), landscape, resolution)
    return placed


def _ranked(task: _Task, placements: Placements, agreement: Agreement) -> tuple[Solution, ...]:
    """Placements as solutions, the best correlated first."""
    places = placements.apply(task.offsets).numpy()
    correlations = torch.tensor([agreement.of(one) or -1.0 for one in places], dtype=torch.float64)
    order = Placements(placements.rotations, placements.centres, correlations).ranked()
    solutions = []
    for k in range(len(order)):
        turn, centre = order.rotations[k], order.centres[k].numpy()
        reference = (torch.eye(3, dtype=torch.float64), task.centre)
        if k > 0:
            reference = (order.rotations[0], order.centres[0].numpy())
        solutions.append(
            Solution(
                rotation=turn.numpy(),
                translation=centre - turn.numpy() @ task.centre,
                correlation=float(order.scores[k]),
                turned_degrees=math.degrees(float(angles_between(turn, reference[0]))),
                moved=float(np.linalg.norm(centre - reference[1])),
            )
        )
    return tuple(solutions)


def _flexible(
    task: _Task, best: Solution, agreement: Agreement, segments: int, progress: Progress
) -> tuple[Placed, FlexibleStep | None]:
    """The best placement, its segments moved if there are to be any."""
    rigid = Placed(
        *(points @ best.rotation.T + best.translation for points in (task.model.positions, task.model.beads.positions))
    )
    if segments == 0:
        return rigid, None
    landscape = Landscape.of(smoothed(task.density_map, task.resolution))
    with progress.track(STEPS, "moving segments") as advance:
        moved = move_segments(task.model, rigid, landscape, segments, advance)
    return moved, FlexibleStep(
        segments=segments,
        correlation=agreement.of(moved.atoms) or -1.0,
        rmsd=float(np.sqrt(np.square(moved.atoms - rigid.atoms).sum(axis=1).mean())),
        bonds_before=bond_lengths(task.model.beads, rigid.beads),
        bonds_after=bond_lengths(task.model.beads, moved.beads),
    )
