"""Joining neighbouring segments that move alike, as far as the images can tell.

A user allows more segments than there are moving parts. Segments of one rigid part then learn the same motion, each
with errors of its own. Joined, they have one motion to learn, and the segments are the parts that move.

Two segments that follow each other along the chain are joined if the smaller one, moved like the larger one, ends up
within a few Å of where it was, and if the held-out images, which trained neither, fit no worse than chance allows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.geometry.motions import RigidMotions, rotate
from cryosphere.model.deformation import segment_centres
from cryosphere.model.segmentation import WELL_SHAPED
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.training.data import ParticleLoader, Rows

log = logging.getLogger(__name__)

TOLERANCE = 2.0  # Å, RMS over residues and images: motions further apart are never joined
CHANCE = 2.0  # standard errors by which the mean correlation may fall
IMAGES = 1000  # looked at, at most
COMPARED = 200  # latents at which motions are compared
FEWEST = 50  # images; with fewer nothing is joined


@dataclass(frozen=True)
class Join:
    """Segment `gone` became part of `kept`; `misfit` Å is how far apart their motions were."""

    gone: int
    kept: int
    misfit: float


@torch.no_grad()
def join_alike(model: HeterogeneityModel, loader: ParticleLoader, rows: Rows, batch_size: int) -> list[Join]:
    """Join what moves alike and give the mixture its new shape; the joins made, none if there was nothing to join.

    `rows` are images to judge by, best held-out ones.
    """
    rows = (
        rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), IMAGES)).astype(np.int64))] if len(rows) else rows
    )
    if len(rows) < FEWEST:
        return []
    was_training = model.training
    model.eval()
    try:
        before = model.segmentation(draw=False)
        scene = _Scene(model, loader, rows, batch_size, model.pivots(before))
        after, joins = _join(scene, before)
        if joins and not _settle(model, after, scene.pivots):
            return []
        return joins
    finally:
        model.train(was_training)


class _Scene:
    """Images to judge by, with the latents and motions inferred from them."""

    def __init__(
        self, model: HeterogeneityModel, loader: ParticleLoader, rows: Rows, batch_size: int, pivots: Tensor
    ) -> None:
        self.model = model
        self.loader = loader
        self.rows = rows
        self.batch_size = batch_size
        self.pivots = pivots
        latents = [model.inference(batch).mean for batch in loader.batches(rows, batch_size)]
        self.motions = [model.decoder(z) for z in latents]
        spread = np.unique(np.linspace(0, len(rows) - 1, COMPARED).astype(np.int64))
        self.compared: RigidMotions = model.decoder(torch.cat(latents)[spread])

    def correlations(self, membership: Tensor) -> NDArray[np.float64]:
        """Of every image with what this membership predicts."""
        model, found = self.model, []
        for batch, motions in zip(self.loader.batches(self.rows, self.batch_size), self.motions, strict=True):
            positions = model.deform(model.positions, membership, motions, self.pivots)
            found.append(model.explain(positions, batch))
        return np.asarray(torch.cat(found).double().cpu().numpy())

    def misfit(self, membership: Tensor, gone: int, kept: int) -> float:
        """RMS distance in Å between the residues of `gone` moved by its own motion and by that of `kept`."""
        points = self.model.positions[membership[:, gone] > 0.5]
        if not len(points):
            return 0.0
        own, other = (
            self.pivots[m]
            + rotate((points - self.pivots[m]).expand(len(self.compared.rotations), -1, -1), turns)
            + self.compared.translations[:, m, None]
            for m in (gone, kept)
            for turns in [self.compared.rotations[:, m, None].expand(-1, len(points), -1)]
        )
        return float((own - other).square().sum(-1).mean().sqrt())


def _join(scene: _Scene, membership: Tensor) -> tuple[Tensor, list[Join]]:
    """Join pair after pair, the most alike first, as long as the images allow."""
    reference = scene.correlations(membership)
    joins: list[Join] = []
    refused: set[tuple[int, int]] = set()
    while True:
        candidates = [
            Join(gone, kept, scene.misfit(membership, gone, kept))
            for gone, kept in _neighbours(scene.model, membership)
            if (gone, kept) not in refused
        ]
        if not candidates:
            return membership, joins
        join = min(candidates, key=lambda candidate: candidate.misfit)
        if join.misfit > TOLERANCE:
            return membership, joins
        joined = membership.clone()
        joined[:, join.kept] += joined[:, join.gone]
        joined[:, join.gone] = 0
        change = scene.correlations(joined) - reference
        if change.mean() < -CHANCE * change.std(ddof=1) / np.sqrt(len(change)):
            refused.add((join.gone, join.kept))
            continue
        membership = joined
        joins.append(join)
        refused = {pair for pair in refused if join.kept not in pair and join.gone not in pair}


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
            "segments are not joined: no mixture comes close to the joined ones (%.0f %% of residues)", 100 * agreement
        )
        return False
    model.pivot_offsets.copy_(pivots - segment_centres(model.positions, model.segmentation(draw=False)))
    return True


def describe(joins: Sequence[Join], left: int) -> str:
    """The joins in words."""
    pairs = ", ".join(f"{join.gone + 1} to {join.kept + 1} ({join.misfit:.1f} Å apart)" for join in joins)
    return f"segments that move alike are joined: {pairs}; {left} left"
