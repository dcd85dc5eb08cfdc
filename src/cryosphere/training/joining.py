"""Joining neighbouring segments that move alike, as far as the images can tell.

A user allows more segments than there are moving parts. Segments of one rigid part then learn the same motion, each
with errors of its own. Joined, they have one motion to learn, and the segments are the parts that move.

Two segments that follow each other along the chain are joined if one rigid motion puts both within a few Å of where
their two motions put them, and if the held-out images, which trained neither, then fit no worse than chance explains.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
FEWEST_POINTS = 3  # that tell a rigid motion
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
    if len(rows) < FEWEST:
        return []
    with evaluating(model):
        scene = Scene(model, loader, rows, batch_size)
        joins, memberships = _join(scene)
        return settle_most(scene, joins, memberships)


@contextmanager
def evaluating(model: HeterogeneityModel) -> Iterator[None]:
    """A block in which nothing of the model is as in training only."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


class Scene:
    """Images to judge by, with the structures inferred from them: joined segments move there as one body already.

    Of the `rows` given, some hundred at least, as many are taken as are needed and their structures fit into memory.
    """

    def __init__(self, model: HeterogeneityModel, loader: ParticleLoader, rows: Rows, batch_size: int) -> None:
        most = min(IMAGES, max(FEWEST, COORDINATES // max(1, model.positions.numel())))
        self.model = model
        self.loader = loader
        self.rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64))]
        self.batch_size = batch_size
        self.compared = slice(None, None, max(1, len(self.rows) // COMPARED))
        self.membership = model.segmentation(draw=False)
        self.pivots = model.pivots(self.membership)
        self.answers = [model.inference(batch) for batch in loader.batches(self.rows, batch_size)]
        parts = [model.structures(answer.mean, self.membership)[0] for answer in self.answers]
        self.structures = torch.cat(parts)  # (n, beads, 3)
        self.unjoined = self.correlations(self.structures, self.membership)

    def correlations(self, structures: Tensor, membership: Tensor) -> NDArray[np.float64]:
        """Of every image with what its structure predicts, its residues being there as this membership has it."""
        pieces = zip(torch.split(structures, self.batch_size), self.answers, strict=True)
        batches = self.loader.batches(self.rows, self.batch_size)
        found = [
            self.model.explain(piece, batch, None, self.model.occupancies(answer.mean, membership))
            for (piece, answer), batch in zip(pieces, batches, strict=True)
        ]
        return np.asarray(torch.cat(found).double().cpu().numpy())

    def as_one(self, gone: int, kept: int, some: slice) -> tuple[Tensor, Tensor, float]:
        """The residues of two segments, where one rigid motion of both puts them best in `some` of the structures.

        Residues that a third segment moves as well stay where they are.
        Rows (r,); positions (n, r, 3) Å; RMS distance in Å from where the two motions had put them.
        """
        rows = (self.membership[:, [gone, kept]].sum(1) > THEIRS).nonzero()[:, 0]
        wanted = self.structures[some][:, rows]
        if len(rows) < FEWEST_POINTS:
            return rows, wanted, 0.0
        start = self.model.positions[rows].expand_as(wanted)
        turn, shift = roma.rigid_points_registration(start, wanted)
        placed = start @ turn.mT + shift[:, None]
        return rows, placed, float((placed - wanted).square().sum(-1).mean().sqrt())

    def try_join(self, gone: int, kept: int) -> tuple[Tensor, NDArray[np.float64]]:
        """The structures (n, beads, 3) if two segments moved as one, and the images' correlations with them (n,)."""
        rows, placed, _ = self.as_one(gone, kept, slice(None))
        structures = self.structures.index_copy(1, rows, placed)
        return structures, self.correlations(structures, self.joined(gone, kept))

    def joined(self, gone: int, kept: int) -> Tensor:
        """The membership after a join."""
        membership: Tensor = self.membership.clone()
        membership[:, kept] += membership[:, gone]
        membership[:, gone] = 0
        return membership

    def join(self, gone: int, kept: int, structures: Tensor) -> None:
        """Let two segments move as one from here on, in these structures."""
        self.structures = structures
        self.membership = self.joined(gone, kept)


def _join(scene: Scene) -> tuple[list[Join], list[Tensor]]:
    """Join pair after pair, the most alike first, as long as the images allow; the membership after each join."""
    joins: list[Join] = []
    memberships: list[Tensor] = []
    refused: set[tuple[int, int]] = set()
    while True:
        candidates = [
            Join(gone, kept, scene.as_one(gone, kept, scene.compared)[2])
            for gone, kept in neighbours(scene.model, scene.membership)
            if (gone, kept) not in refused
        ]
        candidates = [candidate for candidate in candidates if candidate.misfit <= TOLERANCE]
        if not candidates:
            return joins, memberships
        best = min(candidates, key=lambda candidate: candidate.misfit)
        structures, correlations = scene.try_join(best.gone, best.kept)
        change = correlations - scene.unjoined
        if change.mean() >= -CHANCE * change.std(ddof=1) / np.sqrt(len(change)):
            scene.join(best.gone, best.kept, structures)
            joins.append(best)
            memberships.append(scene.membership)
            refused = {pair for pair in refused if best.kept not in pair and best.gone not in pair}
        else:
            refused.add((best.gone, best.kept))


def neighbours(model: HeterogeneityModel, membership: Tensor) -> list[tuple[int, int]]:
    """Pairs (smaller, larger) of segments of one part that follow each other along the chain."""
    order = model.segmentation.along_chain.argsort(stable=True)
    inside = membership[order].sum(1) > 0.5
    strongest = membership[order].argmax(1)[inside].tolist()
    mass = membership.sum(0).tolist()
    allowed = model.segmentation.allowed
    touching = {(a, b) for a, b in pairwise(strongest) if a != b}
    pairs = {(a, b) if (mass[a], a) < (mass[b], b) else (b, a) for a, b in touching}
    return [(a, b) for a, b in sorted(pairs) if bool((allowed[:, a] == allowed[:, b]).all())]


def settle_most(scene: Scene, joins: list[Join], memberships: Sequence[Tensor]) -> list[Join]:
    """Give the mixture the shape after the joins, or after fewer of them where no mixture comes close; those made."""
    while joins and not _settle(scene.model, memberships[len(joins) - 1], scene.pivots):
        joins = joins[:-1]
    return joins


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
