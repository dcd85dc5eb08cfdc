"""Placements of a rigid model, many at once: applied, compared, and thinned to those that differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Placements:
    """C ways to place a model: turned about its own centre, which then stands at `centres`; and how good each is."""

    rotations: Tensor  # (C, 3, 3) float64, acting on columns
    centres: Tensor  # (C, 3) float64, Å, in the map's frame
    scores: Tensor  # (C,) float64; comparable within one step of the search only

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: Any) -> Placements:
        return Placements(self.rotations[rows], self.centres[rows], self.scores[rows])

    def apply(self, offsets: Float[Tensor, "points 3"]) -> Float[Tensor, "c points 3"]:
        """Points of the model, given as offsets from its centre, where each placement brings them."""
        return offsets @ self.rotations.mT + self.centres[:, None]

    def ranked(self) -> Placements:
        """The best first."""
        return self[torch.argsort(self.scores, descending=True)]


def joined(parts: list[Placements]) -> Placements:
    """All placements of several lists."""
    fields = ("rotations", "centres", "scores")
    return Placements(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))


def distinct(placements: Placements, offsets: Float[Tensor, "points 3"], apart: float, most: int) -> Placements:
    """The best placements, at most `most`, of which no two bring the model to within `apart` Å RMSD of each other.

    offsets: points of the model about its centre (of mass of these points, or nearly).
    """
    ranked = placements.ranked()
    spread = offsets.mT @ offsets / len(offsets)  # (3, 3): the mean of the points' outer products
    kept: list[int] = []
    for k in range(len(ranked)):
        if len(kept) == most:
            break
        if kept:
            turned = ranked.rotations[kept] - ranked.rotations[k]
            squared = torch.einsum("cij,jk,cik->c", turned, spread, turned)
            squared = squared + (ranked.centres[kept] - ranked.centres[k]).square().sum(-1)
            if float(squared.min()) < apart**2:
                continue
        kept.append(k)
    return ranked[kept]
