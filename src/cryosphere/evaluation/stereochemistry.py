"""Whether structures are physically possible at residue resolution: clashes, and chains that are torn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryosphere.structures.beads import Beads

CLASH_DISTANCE = 4.0  # Å between residues that do not follow each other in the chain; the paper's figure 7
LINK_TOLERANCE = 1.0  # Å by which the distance of bonded residues may differ from the base structure's


@dataclass(frozen=True)
class Stereochemistry:
    """Clashes and broken links of predicted structures, beside those of the true ones and of the base structure."""

    images: int  # sample, spread evenly over the data set
    clashes: float  # per structure, mean
    clashes_most: int
    true_clashes: float
    base_clashes: int
    broken_links: float  # per structure, mean
    broken_links_most: int
    structures_with_broken_links: float  # share of them
    true_broken_links: float
    links: int  # bonded pairs of residues in the model


def clashes(positions: NDArray[np.floating], bonded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of residues closer than CLASH_DISTANCE that are not bonded to each other, per structure, (n,).

    positions (n, R, 3) Å, bonded (P, 2) bead indices.
    """
    residues = positions.shape[1]
    bonds = np.sort(bonded, axis=1) @ [residues, 1]
    result = np.zeros(len(positions), dtype=np.int64)
    for i, structure in enumerate(positions):
        pairs = cKDTree(structure).query_pairs(CLASH_DISTANCE, output_type="ndarray")
        result[i] = np.count_nonzero(~np.isin(np.sort(pairs, axis=1) @ [residues, 1], bonds))
    return result


def broken_links(
    positions: NDArray[np.floating], base: NDArray[np.floating], bonded: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Bonded residues whose distance differs from the base structure's by more than LINK_TOLERANCE, (n,).

    positions (n, R, 3) Å, base (R, 3) Å, bonded (P, 2) bead indices.
    """
    gap = np.abs(_lengths(positions, bonded) - _lengths(base, bonded))
    return np.asarray((gap > LINK_TOLERANCE).sum(axis=-1), dtype=np.int64)


def _lengths(positions: NDArray[np.floating], bonded: NDArray[np.int64]) -> NDArray[np.float64]:
    gap = np.asarray(positions, dtype=np.float64)[..., bonded[:, 1], :] - positions[..., bonded[:, 0], :]
    return np.asarray(np.linalg.norm(gap, axis=-1))


@dataclass(frozen=True)
class Defects:
    """Clashes and broken links of each of s structures, (s,) each."""

    clashes: NDArray[np.int64]
    broken_links: NDArray[np.int64]

    @classmethod
    def of(cls, positions: NDArray[np.floating], base: NDArray[np.floating], bonded: NDArray[np.int64]) -> Defects:
        """Count them in structures (s, R, 3); base (R, 3); bonded (P, 2)."""
        return cls(clashes(positions, bonded), broken_links(positions, base, bonded))

    @classmethod
    def joined(cls, pieces: Sequence[Defects]) -> Defects:
        """Those of one set of structures after those of another."""
        return cls(*(np.concatenate([getattr(p, name) for p in pieces]) for name in ("clashes", "broken_links")))


def stereochemistry(found: Defects, true: Defects, base: NDArray[np.floating], beads: Beads) -> Stereochemistry:
    """What was counted, in brief."""
    return Stereochemistry(
        images=len(found.clashes),
        clashes=float(found.clashes.mean()),
        clashes_most=int(found.clashes.max()),
        true_clashes=float(true.clashes.mean()),
        base_clashes=int(clashes(base[None], beads.bonded)[0]),
        broken_links=float(found.broken_links.mean()),
        broken_links_most=int(found.broken_links.max()),
        structures_with_broken_links=float((found.broken_links > 0).mean()),
        true_broken_links=float(true.broken_links.mean()),
        links=len(beads.bonded),
    )
