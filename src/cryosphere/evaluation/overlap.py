"""Learned segments beside named domains: which residues they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.evaluation.domains import Domain
from cryosphere.structures.beads import Beads
from cryosphere.structures.ranges import POLYMER_KINDS, residue_ranges

NO_SEGMENT = -1
WORTH_NAMING = 0.1  # of a domain's residues; a segment that holds fewer is named only if it lies mostly in the domain


@dataclass(frozen=True)
class FoundSegment:
    """The residues that belong to a learned segment most."""

    segment: int  # from 1
    residues: int
    ranges: list[str]
    domains: dict[str, int]  # how many of its residues lie in each domain


@dataclass(frozen=True)
class Cover:
    """A domain, and the learned segments that hold a good part of it or lie mostly in it."""

    name: str
    residues: int
    ranges: list[str]
    segments: list[int]
    held: int  # of the domain's residues, by those segments
    segment_residues: int
    segment_ranges: list[str]


def assign(membership: NDArray[np.float64]) -> NDArray[np.int64]:
    """The segment, from 0, that each residue belongs to most, (residues,); NO_SEGMENT where it was held fixed."""
    return np.where(membership.sum(axis=1) > 0.5, membership.argmax(axis=1), NO_SEGMENT).astype(np.int64)


def found_segments(beads: Beads, assignment: NDArray[np.int64], groups: Sequence[Domain]) -> list[FoundSegment]:
    """Every segment to which a residue belongs."""
    ranges = residue_ranges(beads, assignment)
    result = []
    for segment in np.unique(assignment[assignment != NO_SEGMENT]).tolist():
        inside = assignment == segment
        shared = {group.name: int((inside & group.mask).sum()) for group in groups}
        result.append(FoundSegment(segment + 1, int(inside.sum()), [r.words for r in ranges[segment]], shared))
    return result


def covers(beads: Beads, assignment: NDArray[np.int64], groups: Sequence[Domain]) -> list[Cover]:
    """For every domain, the segments that cover it."""
    result = []
    for group in groups:
        size = int(group.mask.sum())
        chosen = []
        for segment in np.unique(assignment[group.mask]).tolist():
            shared = int((group.mask & (assignment == segment)).sum())
            mostly = shared > 0.5 * (assignment == segment).sum()
            if segment != NO_SEGMENT and (mostly or shared >= WORTH_NAMING * size):
                chosen.append(segment)
        union = np.isin(assignment, chosen)
        result.append(
            Cover(
                name=group.name,
                residues=size,
                ranges=_in_words(beads, group.mask),
                segments=[segment + 1 for segment in chosen],
                held=int((union & group.mask).sum()),
                segment_residues=int(union.sum()),
                segment_ranges=_in_words(beads, union),
            )
        )
    return result


def boundaries(beads: Beads, assignment: NDArray[np.int64]) -> list[tuple[str, int]]:
    """(chain, number) of each residue after which the chain passes from one segment to another; ligands aside."""
    return [(str(beads.chain[i]), int(beads.number[i])) for i in boundary_rows(beads, assignment)]


def boundary_rows(beads: Beads, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the residues after which the chain passes from one label to another; ligands aside."""
    polymer = np.flatnonzero(np.isin(beads.kind, POLYMER_KINDS))
    before, after = polymer[:-1], polymer[1:]
    changes = (labels[before] != labels[after]) & (beads.chain[before] == beads.chain[after])
    return np.asarray(before[changes])


def _in_words(beads: Beads, mask: NDArray[np.bool_]) -> list[str]:
    return [one.words for one in residue_ranges(beads, mask.astype(np.int64)).get(1, ())]
