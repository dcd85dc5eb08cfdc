"""Placements made better: each climbs the overlap of the model's atoms with the map, all at once."""

from __future__ import annotations

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from cryosphere.maps.fitting.candidates import Placements
from cryosphere.maps.fitting.landscape import Landscape

FIRST_STEP, LAST_STEP = 1 / 8, 1 / 400  # of the resolution: how far a model moves at once


def refine(
    placements: Placements,
    offsets: Float[Tensor, "points 3"],
    weights: Float[Tensor, " points"],
    landscape: Landscape,
    resolution: float,
    *,
    steps: int = 40,
) -> Placements:
    """Move every placement uphill: its overlap, sum over points of weight · density of the map there, becomes larger.

    offsets: points of the model about its centre, Å; weights: electrons, say. Steps (Adam's, of a given length at the
    model's radius of gyration) shrink from an eighth of the resolution; translation and rotation vector are measured
    alike, by how far they move the model. The scores of the result are overlaps per weight.
    """
    radius = float(offsets.square().sum(-1).mean().sqrt().clamp_min(1.0))
    share = weights / weights.sum()
    moves = torch.zeros(len(placements), 6, dtype=offsets.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([moves], lr=FIRST_STEP * resolution, betas=(0.7, 0.95))
    shrink = torch.optim.lr_scheduler.ExponentialLR(optimizer, (LAST_STEP / FIRST_STEP) ** (1 / max(1, steps - 1)))
    best = Placements(placements.rotations, placements.centres, torch.full_like(placements.scores, -torch.inf))
    for step in range(steps + 1):
        turned = torch.as_tensor(roma.rotvec_to_rotmat(moves[:, :3] / radius)) @ placements.rotations
        moved = Placements(turned, placements.centres + moves[:, 3:], placements.scores)
        overlap = landscape.height(moved.apply(offsets)) @ share
        best = _better(best, Placements(turned.detach(), moved.centres.detach(), overlap.detach()))
        if step == steps:
            break
        optimizer.zero_grad()
        (-overlap.sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        shrink.step()
    return best


def _better(first: Placements, second: Placements) -> Placements:
    """Of each pair of placements the one with the higher score."""
    rises = second.scores > first.scores
    return Placements(
        torch.where(rises[:, None, None], second.rotations, first.rotations),
        torch.where(rises[:, None], second.centres, first.centres),
        torch.where(rises, second.scores, first.scores),
    )
