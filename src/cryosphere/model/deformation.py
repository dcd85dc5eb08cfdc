"""Moving a structure by its segments' rigid motions (section 3.4 of the paper)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from cryosphere.geometry.motions import RigidMotions, rotate

STRONGEST = 3  # segments per residue that the fast path follows
SHARP = 5.0  # temperature from which on following them is enough: 25 segments then move right to 3·10⁻⁵ Å


def segment_centres(
    positions: Float[Tensor, "residues 3"], membership: Float[Tensor, "residues segments"]
) -> Float[Tensor, "segments 3"]:
    """Centre of each segment in the base structure, residues weighted by membership; the origin for an empty one."""
    mass = membership.sum(0)[:, None]
    return torch.where(mass > 1e-3, membership.mT @ positions / mass.clamp_min(1e-3), 0.0)


def deform_reference(
    points: Float[Tensor, "points 3"],
    membership: Float[Tensor, "points segments"],
    motions: RigidMotions,
    pivots: Float[Tensor, "segments 3"],
) -> Float[Tensor, "n points 3"]:
    """Turn every point about each segment's pivot in turn, by its membership times the angle, then translate it.

    The literal loop over segments. `membership` and `pivots` are rows of what `deform` takes.
    """
    moved = points.expand(len(motions.rotations), *points.shape)
    for m in range(membership.shape[1]):
        turn = membership[:, m, None] * motions.rotations[:, None, m]
        moved = pivots[m] + rotate(moved - pivots[m], turn)
    return moved + torch.einsum("pm,nmx->npx", membership, motions.translations)


def deform(
    points: Float[Tensor, "points 3"],
    membership: Float[Tensor, "points segments"],
    motions: RigidMotions,
    pivots: Float[Tensor, "segments 3"],
) -> Float[Tensor, "n points 3"]:
    """What `deform_reference` does, following only the strongest few segments of each point, in the same order.

    Membership is nearly one-hot, so the rest (its weight is added to nobody) hardly moves a point: the error is at
    most its weight times what its motion would have done. The translations use every segment.
    """
    keep = min(STRONGEST, membership.shape[1])
    chosen = membership.detach().topk(keep, dim=1).indices.sort(dim=1).values  # (points, keep)
    weights = membership.gather(1, chosen)
    moved = points.expand(len(motions.rotations), *points.shape)
    for k in range(keep):
        pivot = pivots[chosen[:, k]]
        turn = weights[:, k, None] * motions.rotations.index_select(1, chosen[:, k])
        moved = pivot + rotate(moved - pivot, turn)
    return moved + torch.einsum("pm,nmx->npx", membership, motions.translations)


def choose_deform(temperature: float) -> Callable[[Tensor, Tensor, RigidMotions, Tensor], Tensor]:
    """The fast path where the segmentation's temperature makes membership nearly one-hot, else the loop."""
    return deform if temperature >= SHARP else deform_reference
