"""Whether a map that was given stands in the frame of the particles' poses: the images of the model placed in it tell.

A map made of the images stands there by itself. One that was flipped, re-centred or aligned after the refinement looks
as good as before, and the model fits it, but the poses are those of the map that it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryosphere.doctor.comparing import Examiner
from cryosphere.doctor.offset import best_offset
from cryosphere.doctor.readings import MIRRORS, Reading
from cryosphere.doctor.sample import Sample
from cryosphere.errors import MapError
from cryosphere.maps.density_map import DensityMap
from cryosphere.preparation.placement import CERTAIN, Candidate, Placement, preference

_FAR = 4.0  # Å: motions and missing parts move a centre by less
_SEEN = 3.0  # standard errors from which on the images show the model
_IMAGES = 400  # for the search of an offset
_MEND = "Give the map that the poses came with, or leave out --map to have one made of the images"


@dataclass(frozen=True)
class _Judge:
    """The placement in the map, the images, and the map's voxels."""

    placement: Placement
    sample: Sample
    voxel: float  # Å, of the map

    def read_as(self, candidate: Candidate, reading: Reading) -> Candidate:
        """A candidate as the images see it under another reading."""
        return replace(candidate, in_images=self._correlations(candidate, reading, self.sample))

    def _correlations(self, candidate: Candidate, reading: Reading, sample: Sample) -> NDArray[np.float64]:
        return Examiner(sample, candidate.model.beads).correlations(reading)

    def best_mirror(self, candidate: Candidate) -> Candidate:
        """The candidate's mirror image that the images agree with most, of those that differ by half turns.

        Programs flip a map about its centre, or about the middle of its planes: in an even box half a voxel off.
        """
        readings = []
        for mirror in MIRRORS:
            x, y, z = (self.voxel if sign < 0 else 0.0 for sign in mirror)
            readings += [Reading(mirror=mirror), Reading(mirror=mirror, offset=(x, y, z))]
        images = [self.read_as(candidate, reading) for reading in readings]
        return max(images, key=lambda one: abs(one.image_correlation))


def require_same_hand(density_map: DensityMap, placement: Placement, sample: Sample) -> None:
    """Make sure that map and poses were not flipped one without the other.

    Raises:
        MapError: if the images show the mirror image of what the map shows, with the figures.
    """
    judge, chosen = _Judge(placement, sample, density_map.pixel_size), placement.chosen
    flipped = judge.best_mirror(chosen)
    turned_back = None if placement.other_hand is None else judge.best_mirror(placement.other_hand)
    poses_stayed = turned_back is None or abs(flipped.image_correlation) >= abs(turned_back.image_correlation)
    best = flipped if poses_stayed or turned_back is None else turned_back
    if preference(best, chosen) <= CERTAIN or not _is_best(best, placement):
        return
    if poses_stayed:
        raise MapError(
            f"{density_map.source}: the model fits the map, but the images show its mirror image "
            f"{_figures(chosen, flipped, 'mirrored')}: the map was flipped after the refinement, and the poses were "
            "not. Refine again from the flipped map, so that the poses belong to it"
        )
    raise MapError(
        f"{density_map.source}: the map is the mirror image of what the images show "
        f"{_figures(chosen, best, 'as placed in the map flipped')}. {_MEND}"
    )


def require_same_place(density_map: DensityMap, placement: Placement, sample: Sample) -> None:
    """Make sure that the images show the model where the map has it.

    Raises:
        MapError: if they show it elsewhere, or not at all; with the figures.
    """
    judge, chosen = _Judge(placement, sample, density_map.pixel_size), placement.chosen
    if abs(chosen.image_correlation) < _SEEN * chosen.image_error:
        raise MapError(
            f"{density_map.source}: the model correlates with the map by {chosen.in_map:.3f}, but the images do not "
            f"show it there ({chosen.image_correlation:+.4f} ± {chosen.image_error:.4f}): the map is not in the frame "
            f"of these particles' poses. {_MEND}"
        )
    x, y, z = best_offset(Examiner(sample.first(_IMAGES), chosen.model.beads), Reading())
    elsewhere = judge.read_as(chosen, Reading(offset=(x, y, z)))
    if float(np.linalg.norm((x, y, z))) >= _FAR and preference(elsewhere, chosen) > CERTAIN:
        raise MapError(
            f"{density_map.source}: the images show the model ({x:.1f}, {y:.1f}, {z:.1f}) Å from where it lies in the "
            f"map {_figures(chosen, elsewhere, 'there')}: the centre of the map's box is not that of the "
            f"images. {_MEND}"
        )


def _figures(chosen: Candidate, other: Candidate, name: str) -> str:
    return (
        f"(correlation {chosen.image_correlation:+.4f} ± {chosen.image_error:.4f} where it was placed, "
        f"{other.image_correlation:+.4f} {name})"
    )


def _is_best(candidate: Candidate, placement: Placement) -> bool:
    """Whether the images agree with nothing else as well: with the mirror image in place, least of all."""
    others = (placement.before, *placement.others, *([placement.other_hand] if placement.other_hand else []))
    return all(abs(candidate.image_correlation) >= abs(one.image_correlation) for one in others)
