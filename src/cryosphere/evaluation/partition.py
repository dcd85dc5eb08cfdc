"""Whether the chain was cut where it really bends: learned segments against the true rigid domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from cryosphere.evaluation.domains import Domain
from cryosphere.evaluation.measures import aligned_deviation
from cryosphere.evaluation.overlap import boundary_rows
from cryosphere.geometry.rigid_bodies import rigid_bodies
from cryosphere.structures.beads import Beads
from cryosphere.structures.ranges import POLYMER_KINDS

NOT_EMPTY = 0.5  # residues' worth of membership from which a segment counts as used
ONE_BODY = 0.5  # pixels (RMS) that segments may move against each other and still count as one body
SHORTEST = (
    3  # residues; what is cut off by a true boundary is no domain's part if it is shorter, such as a last residue
)
PERCENTILES = (5.0, 95.0)  # of the latents along each principal component: the ends that structures are compared at
COMPONENTS = 3
SHARE_OF_COMPONENT = 0.01  # of the variance, for components after the first


@dataclass(frozen=True)
class BoundaryOffset:
    """A place where the true domain changes, and how far along the chain the nearest learned change is."""

    chain: str
    after: int  # number of the last residue before it
    nearest_segment: int | None  # residues; None where the chain has no learned boundary
    nearest_body: int | None  # the same for bodies: segments that move as one count as one


@dataclass(frozen=True)
class Rigidity:
    """Whether all that lies within one true domain moves alike."""

    domain: str
    segments: list[int]  # from 1, those to which most of its residues belong first; 0: held fixed
    one_body: bool  # all but a tenth of its residues belong to segments that move as one
    misfit: float  # Å, RMS the domain departs from the base structure's after its best superposition, mean over images
    true_misfit: float  # Å, the same in the true structures: jitter, or a domain that is not rigid


@dataclass(frozen=True)
class Partition:
    """Learned segments, and the bodies they form, against the true domains."""

    segments_allowed: int
    segments_used: int  # hold half a residue or more
    segments_empty: int
    adjusted_rand: float | None  # of segments; 1 is the true cut, 0 is chance; None without known domains
    adjusted_rand_bodies: float | None  # of segments merged into bodies that move as one
    bodies: list[list[int]]  # segments from 1 (0: held fixed) of each body, largest first
    body_tolerance: float  # Å
    boundaries: list[BoundaryOffset]
    domains: list[Rigidity]


@dataclass(frozen=True)
class Learned:
    """What was learned about the chain, and a sample of structures to see it move."""

    beads: Beads
    membership: NDArray[np.float64]  # (R, N)
    assignment: NDArray[np.int64]  # (R,)
    bodies: list[tuple[int, ...]]
    tolerance: float  # Å, that the bodies were found with
    predicted: NDArray[np.float32]  # (s, R, 3) Å
    true: NDArray[np.float32]  # (s, R, 3) Å


def ends_of_components(latents: NDArray[np.floating]) -> NDArray[np.float32]:
    """Latents (P, 2, L) at both ends of the main directions in which the latents (n, L) differ."""
    values = np.asarray(latents, dtype=np.float64)
    mean = values.mean(axis=0)
    variances, vectors = np.linalg.eigh(np.cov(values, rowvar=False, bias=True).reshape(values.shape[1], -1))
    order = np.argsort(variances)[::-1][:COMPONENTS]
    followed = [k for rank, k in enumerate(order) if rank == 0 or variances[k] > SHARE_OF_COMPONENT * variances.sum()]
    directions = vectors[:, followed].T
    low, high = np.percentile((values - mean) @ directions.T, PERCENTILES, axis=0)
    ends = mean + np.stack([low, high], axis=1)[..., None] * directions[:, None]
    return np.asarray(ends, dtype=np.float32)


def bodies_between(
    ends: NDArray[np.floating], assignment: NDArray[np.int64], tolerance: float
) -> list[tuple[int, ...]]:
    """Segments that move as one between the structures of every pair (P, 2, R, 3), to within `tolerance` Å."""
    pairs = np.asarray(ends, dtype=np.float64)
    return rigid_bodies(pairs[:, 0], pairs[:, 1], assignment, tolerance)


def partition(learned: Learned, domains: Sequence[Domain], base: NDArray[np.floating]) -> Partition:
    """Compare what was learned with the domains; base (R, 3) Å is the unmoved structure."""
    weights = learned.membership.sum(axis=0)
    used = int((weights >= NOT_EMPTY).sum())
    labels, known = _labels(domains, len(learned.assignment))
    body = _body_of(learned)
    several = len(np.unique(labels[known])) > 1
    scores = [float(adjusted_rand_score(labels[known], x[known])) for x in (learned.assignment, body)]
    return Partition(
        segments_allowed=len(weights),
        segments_used=used,
        segments_empty=len(weights) - used,
        adjusted_rand=scores[0] if several else None,
        adjusted_rand_bodies=scores[1] if several else None,
        bodies=[[segment + 1 for segment in one] for one in learned.bodies],
        body_tolerance=learned.tolerance,
        boundaries=_offsets(learned.beads, labels, learned.assignment, body),
        domains=[_rigidity(learned, body, domain, base) for domain in domains],
    )


def _labels(domains: Sequence[Domain], residues: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Domain of each residue, from 0, and whether it lies in one; the first named counts where they overlap."""
    labels = np.full(residues, -1, dtype=np.int64)
    for k, domain in enumerate(domains):
        labels[domain.mask & (labels < 0)] = k
    return labels, labels >= 0


def _body_of(learned: Learned) -> NDArray[np.int64]:
    """Body of each residue, (R,)."""
    result = np.zeros_like(learned.assignment)
    for k, segments in enumerate(learned.bodies):
        result[np.isin(learned.assignment, segments)] = k
    return result


def _offsets(
    beads: Beads, labels: NDArray[np.int64], segments: NDArray[np.int64], bodies: NDArray[np.int64]
) -> list[BoundaryOffset]:
    found = []
    changes = [boundary_rows(beads, x) for x in (segments, bodies)]
    for row in _firm(beads, labels, boundary_rows(beads, labels)):
        same = [rows[beads.chain[rows] == beads.chain[row]] for rows in changes]
        nearest = [int(np.abs(rows - row).min()) if len(rows) else None for rows in same]
        found.append(BoundaryOffset(str(beads.chain[row]), int(beads.number[row]), nearest[0], nearest[1]))
    return found


def _firm(beads: Beads, labels: NDArray[np.int64], rows: NDArray[np.int64]) -> list[int]:
    """The boundaries that have a stretch of SHORTEST residues of one chain and domain on either side."""
    polymer = np.flatnonzero(np.isin(beads.kind, POLYMER_KINDS))
    firm = []
    for place, row in zip(np.searchsorted(polymer, rows).tolist(), rows.tolist(), strict=True):
        sides = polymer[max(0, place - SHORTEST + 1) : place + 1], polymer[place + 1 : place + 1 + SHORTEST]
        alike = [len(np.unique(labels[s])) == 1 and len(np.unique(beads.chain[s])) == 1 for s in sides]
        if all(alike) and min(map(len, sides)) == SHORTEST:
            firm.append(row)
    return firm


def _rigidity(learned: Learned, body: NDArray[np.int64], domain: Domain, base: NDArray[np.floating]) -> Rigidity:
    here = learned.assignment[domain.mask]
    segments, sizes = np.unique(here, return_counts=True)
    misfits = []
    for structures in (learned.predicted, learned.true):
        unmoved = np.broadcast_to(base[domain.mask], structures[:, domain.mask].shape)
        misfits.append(float(aligned_deviation(np.ascontiguousarray(unmoved), structures[:, domain.mask]).mean()))
    return Rigidity(
        domain=domain.name,
        segments=[int(s) + 1 for s in segments[np.argsort(-sizes, kind="stable")]],
        one_body=bool(np.bincount(body[domain.mask]).max() >= 0.9 * len(here)),
        misfit=misfits[0],
        true_misfit=misfits[1],
    )
