"""Joining neighbouring segments that move alike, as far as the images can tell.

A user allows more segments than there are moving parts. Segments of one rigid part then learn the same motion, each
with errors of its own. Joined, they have one motion to learn, and the segments are the parts that move.

Two segments that follow each other along the chain are joined if one rigid motion puts both within a few Å of where
their two motions put them, and if the held-out images, which trained neither, then fit no worse than chance explains.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import roma
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.model.deformation import segment_centres
from cryosphere.model.segmentation import WELL_SHAPED
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.training.data import ParticleLoader, Rows

log = logging.getLogger(__name__)

TOLERANCE = 2.0  # Å, RMS over residues and images: motions further apart are never joined
CHANCE = 2.0  # standard errors by which the mean correlation may fall
IMAGES = 1000  # looked at, at most
COMPARED = 200  # latents at which motions are compared
THEIRS = 0.95  # of a residue's membership that lies with the two segments looked at
FEWEST = 50  # images; with fewer nothing is joined
COORDINATES = 2**27  # of the structures held for that, at most: half a gigabyte


@dataclass(frozen=True)
class Join:
    """Segment `gone` became part of `kept`; `misfit` Å (RMS) is how far one motion of both leads astray."""

    gone: int
    kept: int
    misfit: float


@torch.no_grad()
def join_alike(model: HeterogeneityModel, loader: ParticleLoader, rows: Rows, batch_size: int) -> list[Join]:
    """Join what moves alike and give the mixture its new shape; the joins made, none if there was nothing to join.

    `rows` are images to judge by, best held-out ones.
    """
    most = min(IMAGES, max(FEWEST, COORDINATES // max(1, model.positions.numel())))
    if len(rows) < FEWEST:
        return []
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64))]
    was_training = model.training
    model.eval()
    try:
        scene = _Scene(model, loader, rows, batch_size)
        joins, memberships = _join(scene)
        while joins and not _settle(model, memberships[len(joins) - 1], scene.pivots):
            joins.pop()
        return joins
    finally:
        model.train(was_training)


class _Scene:
    """Images to judge by, with the structures inferred from them: joined segments move there as one body already."""

    def __init__(self, model: HeterogeneityModel, loader: ParticleLoader, rows: Rows, batch_size: int) -> None:
        self.model = model
        self.loader = loader
        self.rows = rows
        self.batch_size = batch_size
        self.membership = model.segmentation(draw=False)
        self.pivots = model.pivots(self.membership)
        parts = [model.inference(batch).mean for batch in loader.batches(rows, batch_size)]
        self.structures = torch.cat([model.structures(z, self.membership)[0] for z in parts])  # (n, beads, 3)
        self.unjoined = self.correlations(self.structures)

    def correlations(self, structures: Tensor) -> NDArray[np.float64]:
        """Of every image with what its structure predicts."""
        pieces = torch.split(structures, self.batch_size)
        batches = self.loader.batches(self.rows, self.batch_size)
        found = [self.model.explain(piece, batch) for piece, batch in zip(pieces, batches, strict=True)]
        return np.asarray(torch.cat(found).double().cpu().numpy())

    def as_one(self, gone: int, kept: int, some: slice) -> tuple[Tensor, Tensor, float]:
        """The residues of two segments, where one rigid motion of both puts them best in `some` of the structures.

        Residues that a third segment moves as well stay where they are.
        Rows (r,); positions (n, r, 3) Å; RMS distance in Å from where the two motions had put them.
        """
        rows = (self.membership[:, [gone, kept]].sum(1) > THEIRS).nonzero()[:, 0]
        wanted = self.structures[some][:, rows]
        start = self.model.positions[rows].expand_as(wanted)
        turn, shift = roma.rigid_points_registration(start, wanted)
        placed = start @ turn.mT + shift[:, None]
        return rows, placed, float((placed - wanted).square().sum(-1).mean().sqrt())

    def join(self, gone: int, kept: int) -> bool:
        """Let two segments move as one, unless the images then fit worse than chance explains."""
        rows, placed, _ = self.as_one(gone, kept, slice(None))
        structures = self.structures.index_copy(1, rows, placed)
        change = self.correlations(structures) - self.unjoined
        if change.mean() < -CHANCE * change.std(ddof=1) / np.sqrt(len(change)):
            return False
        self.structures = structures
        self.membership = self.membership.clone()
        self.membership[:, kept] += self.membership[:, gone]
        self.membership[:, gone] = 0
        return True


def _join(scene: _Scene) -> tuple[list[Join], list[Tensor]]:
    """Join pair after pair, the most alike first, as long as the images allow; the membership after each join."""
    joins: list[Join] = []
    memberships: list[Tensor] = []
    refused: set[tuple[int, int]] = set()
    compared = slice(None, None, max(1, len(scene.rows) // COMPARED))
    while True:
        candidates = [
            Join(gone, kept, scene.as_one(gone, kept, compared)[2])
            for gone, kept in _neighbours(scene.model, scene.membership)
            if (gone, kept) not in refused
        ]
        candidates = [candidate for candidate in candidates if candidate.misfit <= TOLERANCE]
        if not candidates:
            return joins, memberships
        best = min(candidates, key=lambda candidate: candidate.misfit)
        if scene.join(best.gone, best.kept):
            joins.append(best)
            memberships.append(scene.membership)
            refused = {pair for pair in refused if best.kept not in pair and best.gone not in pair}
        else:
            refused.add((best.gone, best.kept))


def _neighbours(model: HeterogeneityModel, membership: Tensor) -> list[tuple[int, int]]:
    """Pairs (smaller, larger) of segments of one part that follow each other along the chain."""
    order = model.segmentation.along_chain.argsort(stable=True)
    inside = membership[order].sum(1) > 0.5
    strongest = membership[order].argmax(1)[inside].tolist()
    mass = membership.sum(0).tolist()
    allowed = model.segmentation.allowed
    touching = {(a, b) for a, b in pairwise(strongest) if a != b}
    pairs = {(a, b) if (mass[a], a) < (mass[b], b) else (b, a) for a, b in touching}
    return [(a, b) for a, b in sorted(pairs) if bool((allowed[:, a] == allowed[:, b]).all())]


def _settle(model: HeterogeneityModel, membership: Tensor, pivots: Tensor) -> bool:
    """Give the mixture the joined shape, with every segment turning about the same point as before."""
    with torch.enable_grad():
        agreement = model.segmentation.take_shape(membership)
    if agreement < WELL_SHAPED:
        log.info(
            "a join is taken back: no mixture comes close to the joined ones (%.0f %% of residues)", 100 * agreement
        )
        return False
    model.pivot_offsets.copy_(pivots - segment_centres(model.positions, model.segmentation(draw=False)))
    return True


def describe(joins: Sequence[Join], left: int) -> str:
    """The joins in words."""
    pairs = ", ".join(f"{join.gone + 1} to {join.kept + 1} ({join.misfit:.1f} Å apart)" for join in joins)
    return f"segments that move alike are joined: {pairs}; {left} left"
