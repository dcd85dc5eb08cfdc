"""Moving a structure by its segments' rigid motions (section 3.4 of the paper)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from cryosphere.geometry.motions import RigidMotions, rotate
from cryosphere.model.turning import turn

STRONGEST = 3  # segments per residue that the fast path follows
SHARP = 5.0  # temperature from which on following them is enough: 25 segments then move right to 3·10⁻⁵ Å.
# The share of residues that more than one segment moves falls with the temperature: at 20, a quarter covers all whose
# weight elsewhere exceeds 10⁻⁴ (measured for 4 to 60 segments, before and after training).


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
    *,
    shared: float = 1.0,
) -> Float[Tensor, "n points 3"]:
    """What `deform_reference` does, in one matrix product for most points.

    Membership is nearly one-hot. A point that belongs to one segment alone moves by that segment's affine map, and
    moving it by the average of all maps, weighted by membership, is the same. The fraction `shared` of the points,
    those that belong least to one segment alone, are turned by their strongest segments in the loop's order instead.
    A point left to the average with weight ε elsewhere is off by about ε θ³ / 6 of its distance from the pivot, where θ
    is the difference of the angles.
    """
    moved = _blend(points, membership, motions, pivots)
    count = math.ceil(shared * len(points))
    alone = membership.detach().amax(1) + (membership.detach().sum(1) < 0.5)  # outside every part: nothing moves it
    rows = alone.topk(count, largest=False).indices
    turned = _follow_strongest(points[rows], membership[rows], motions, pivots)
    return moved.index_copy(1, rows, turned)


def _blend(points: Tensor, membership: Tensor, motions: RigidMotions, pivots: Tensor) -> Tensor:
    """Every point moved by the average of the segments' affine maps (of the identity where it belongs to none)."""
    turns = roma.rotvec_to_rotmat(motions.rotations)  # (n, segments, 3, 3)
    offsets = pivots - torch.einsum("nmxy,my->nmx", turns, pivots) + motions.translations
    maps = torch.cat([turns, offsets[..., None]], dim=-1).transpose(1, 2).flatten(2)  # (n, 3, segments · 4)
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    weighted = (membership[:, :, None] * homogeneous[:, None, :]).flatten(1)  # (points, segments · 4)
    still = (1 - membership.sum(1)) * points.mT  # (3, points)
    return (torch.matmul(maps, weighted.mT) + still).mT


def _follow_strongest(points: Tensor, membership: Tensor, motions: RigidMotions, pivots: Tensor) -> Tensor:
    """Points turned by their strongest few segments, in the order of the loop; the translations use every segment."""
    keep = min(STRONGEST, membership.shape[1])
    chosen = membership.detach().topk(keep, dim=1).indices.sort(dim=1).values  # (points, keep)
    weights = membership.gather(1, chosen)
    moved = turn(points, weights, chosen, motions.rotations, pivots)
    return moved + torch.matmul(membership, motions.translations)


def choose_deform(temperature: float) -> Callable[[Tensor, Tensor, RigidMotions, Tensor], Tensor]:
    """The fast path where the segmentation's temperature makes membership nearly one-hot, else the loop."""
    return partial(deform, shared=SHARP / temperature) if temperature >= SHARP else deform_reference
