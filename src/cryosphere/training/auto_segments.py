"""As many segments as the images bear out: start with many, and join those whose difference earns nothing.

A segment of its own has to be learned: where it begins and ends, and six numbers of its motion as functions of the
latent. Schwarz's criterion (1978, Ann. Stat. 6:461) puts the price of k parameters learned from n images at ½ k ln n
nats. Two neighbours stay apart only if the held-out images, which trained neither, surely lose more than that when one
rigid motion, the best for both, takes the place of their two. What is joined goes on learning as one, and is judged
again later, with less noise in what was learned.

Segments are stretches of the chain, but a part of the molecule may be made of several. At the end parts are merged
further, also where they are no neighbours, down to one rigid body, and the images tell what each merge loses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere.model.posteriors import kl_divergence
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.training.data import ParticleLoader, Rows
from cryosphere.training.joining import (
    FEWEST,
    TOLERANCE,
    Join,
    Scene,
    evaluating,
    neighbours,
    settle_most,
)
from cryosphere.training.moving_parts import Merge, MovingParts, fewest

ROUNDS = (0.4, 0.6, 0.8)  # of the epochs, after which segments are joined
SURE = 2.0  # standard errors
IN_USE = 0.05  # nats of divergence, mean over images: latents below hold nothing
OF_MOTION, OF_PLACE = 6, 3  # parameters of a segment: a rigid motion's; mean, width and weight along the chain
Pair = tuple[int, int]


@dataclass(frozen=True)
class _Loss:
    """What images lose by a join: mean over images, in nats, and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, nats: NDArray[np.float64]) -> _Loss:
        return cls(float(nats.mean()), float(nats.std(ddof=1) / math.sqrt(len(nats))))

    def is_paid_for(self, price: float, misfit: float) -> bool:
        """Whether two segments are better one, at a price in nats per image for being two.

        Motions that differ by much are not taken for one only because the images cannot tell.
        """
        if self.mean - SURE * self.error > price:
            return False
        return misfit <= TOLERANCE or self.mean + SURE * self.error <= price


class _Strains:
    """How hard it is to move two segments as one: squared Å summed over their residues; found once for each pair."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.known: dict[Pair, tuple[float, Join]] = {}

    def least(self, pairs: Iterable[Pair]) -> Join:
        """The join of least strain."""
        return min((self._of(pair) for pair in pairs), key=lambda found: found[0])[1]

    def _of(self, pair: Pair) -> tuple[float, Join]:
        if pair not in self.known:
            rows, _, misfit = self.scene.as_one(*pair, self.scene.compared)
            self.known[pair] = (len(rows) * misfit**2, Join(*pair, misfit))
        return self.known[pair]

    def forget(self, join: Join) -> None:
        """What two segments were is no longer so."""
        gone = {join.gone, join.kept}
        self.known = {pair: found for pair, found in self.known.items() if not gone & set(pair)}


@torch.no_grad()
def prune(
    model: HeterogeneityModel, loader: ParticleLoader, rows: Rows, batch_size: int, trained_on: int
) -> list[Join]:
    """Join neighbours whose difference does not earn its parameters, and give the mixture its new shape; the joins.

    `rows` are images to judge by, best held-out ones; `trained_on` is how many images the model learns from.
    """
    if len(rows) < FEWEST:
        return []
    with evaluating(model):
        scene = Scene(model, loader, rows, batch_size)
        price, per_nat = _price(scene, trained_on), float(model.correlation_per_nat())
        joins, memberships = [], []
        judged, strains = scene.unjoined, _Strains(scene)
        refused: set[frozenset[int]] = set()
        while pairs := [p for p in neighbours(model, scene.membership) if frozenset(p) not in refused]:
            best = strains.least(pairs)
            structures, correlations = scene.try_join(best.gone, best.kept)
            if not _Loss.of((judged - correlations) / per_nat).is_paid_for(price, best.misfit):
                refused.add(frozenset((best.gone, best.kept)))
                continue
            scene.join(best.gone, best.kept, structures)
            judged = correlations
            joins.append(best)
            memberships.append(scene.membership)
            strains.forget(best)
            refused = {frozenset(best.kept if s == best.gone else s for s in pair) for pair in refused}
        return settle_most(scene, joins, memberships)


def _price(scene: Scene, trained_on: int) -> float:
    """What a segment of its own costs in nats per image, by Schwarz's criterion."""
    divergence = torch.cat([kl_divergence(answer) for answer in scene.answers]).mean(0)
    dimensions = int((divergence > IN_USE).sum())
    parameters = OF_MOTION * (dimensions + 1) + OF_PLACE
    return 0.5 * parameters * math.log(trained_on) / trained_on


@torch.no_grad()
def find_moving_parts(
    model: HeterogeneityModel, loader: ParticleLoader, rows: Rows, batch_size: int
) -> MovingParts | None:
    """Merge segments, whether they are neighbours or not, into the fewest parts that keep what motion explains.

    Always the two whose motions differ least are merged next. `rows` are images to judge by; None if they are too few.
    """
    if len(rows) < FEWEST:
        return None
    with evaluating(model):
        scene = Scene(model, loader, rows, batch_size)
        mass = scene.membership.sum(0)
        inside = scene.membership.sum(1) > 0.5
        segments = scene.membership.argmax(1)[inside].unique().tolist()
        steps = _down_to_one(scene, segments)
    nats = [correlations / float(model.correlation_per_nat()) for _, correlations in steps]
    nats.insert(0, scene.unjoined / float(model.correlation_per_nat()))
    total = _Loss.of(nats[0] - nats[-1])
    merges: list[Merge] = []
    members = {segment: (segment,) for segment in segments}
    for k, (join, _) in enumerate(steps):
        loss = _Loss.of(nats[k] - nats[k + 1])
        kept = float((nats[k + 1] - nats[-1]).mean()) / total.mean if total.mean > 0 else 0.0
        first, second = members.pop(join.kept), members.pop(join.gone)
        merges.append(Merge(first, second, len(members) + 1, join.misfit, loss.mean, loss.error, kept))
        members[join.kept] = tuple(sorted(first + second))
    parts, kept = [tuple(segments)], 0.0
    if total.mean > SURE * total.error:
        parts, kept = fewest(merges, segments)
    ordered = sorted(parts, key=lambda part: -float(mass[list(part)].sum()))
    return MovingParts(tuple(ordered), len(segments), len(scene.rows), total.mean, total.error, kept, tuple(merges))


def _down_to_one(scene: Scene, segments: list[int]) -> list[tuple[Join, NDArray[np.float64]]]:
    """Join after join until all residues move as one, each with the images' correlations after it."""
    strains = _Strains(scene)
    steps = []
    left = set(segments)
    while len(left) > 1:
        best = strains.least(combinations(sorted(left), 2))
        structures, correlations = scene.try_join(best.gone, best.kept)
        scene.join(best.gone, best.kept, structures)
        strains.forget(best)
        left.remove(best.gone)
        steps.append((best, correlations))
    return steps
