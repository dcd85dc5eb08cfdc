"""Which residues come close to each other in moved structures: a cell list, all structures at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_CANDIDATES_AT_ONCE = 2**23  # pairs whose distance is computed together; bounds the memory beside the result
_CELLS_PER_AXIS = 1024  # cell indices are taken modulo this; what meets by wrapping is sorted out by its distance
_HALF_OF_NEIGHBOURS = tuple(step for step in itertools.product((-1, 0, 1), repeat=3) if step > (0, 0, 0))


class ClosePairs(NamedTuple):
    """P pairs of beads: in structure `image`, beads `first` < `second`."""

    image: Tensor  # (P,) int64
    first: Tensor  # (P,) int64
    second: Tensor  # (P,) int64


def close_pairs(positions: Float[Tensor, "b r 3"], cutoff: float) -> ClosePairs:
    """All pairs of beads that are closer than `cutoff`, in each of B structures.

    positions: (B, R, 3), Å, on any device; no gradient flows through the choice of pairs. cutoff: Å, positive.
    Returns int64 index tensors of shape (P,), first < second, sorted by structure, first and second bead. Beads with
    coordinates that are not finite have no neighbours.

    Space is cut into cells a little wider than the cutoff, so that all neighbours of a bead lie in its own cell and
    the 26 around it. Beads are sorted by cell; each bead looks at the later beads of its own cell and at 13 of the
    cells around, so that every pair comes up once. Memory grows as B R plus the number of pairs found.
    """
    if not cutoff > 0:
        raise ValueError(f"the cutoff must be positive, got {cutoff}")
    beads = max(positions.shape[1], 1)
    points = positions.detach().reshape(-1, 3)
    members = torch.nonzero(torch.isfinite(points).all(dim=1)).squeeze(1)
    cells = torch.floor(points[members].double().clamp(-1e15, 1e15) / (cutoff * 1.001)).long()
    keys, order = torch.sort(_keys(members // beads, cells), stable=True)
    members, cells = members[order], cells[order]
    found = [
        pair
        for starts, counts in _candidates(keys, members // beads, cells)
        for pair in _close_among(points, members, starts, counts, cutoff)
    ]
    pairs = torch.cat(found, dim=1) if found else members.new_empty((2, 0))
    low, high = pairs.amin(dim=0), pairs.amax(dim=0)
    order = torch.argsort(high, stable=True)
    order = order[torch.argsort(low[order], stable=True)]
    low, high = low[order], high[order]
    return ClosePairs(low // beads, low % beads, high % beads)


def _keys(images: Int64[Tensor, " n"], cells: Int64[Tensor, "n 3"]) -> Int64[Tensor, " n"]:
    x, y, z = torch.remainder(cells, _CELLS_PER_AXIS).unbind(dim=1)
    return ((images * _CELLS_PER_AXIS + x) * _CELLS_PER_AXIS + y) * _CELLS_PER_AXIS + z


def _candidates(
    keys: Int64[Tensor, " n"], images: Int64[Tensor, " n"], cells: Int64[Tensor, "n 3"]
) -> Iterator[tuple[Int64[Tensor, " n"], Int64[Tensor, " n"]]]:
    """For every bead, in sorted order, the run of sorted beads (start and length) to compare it with; cell by cell."""
    occupied, sizes = torch.unique_consecutive(keys, return_counts=True)
    if len(occupied) == 0:
        return
    ends = torch.cumsum(sizes, dim=0)
    rank = torch.arange(len(keys), device=keys.device)
    yield rank + 1, torch.repeat_interleave(ends, sizes) - rank - 1
    for step in _HALF_OF_NEIGHBOURS:
        wanted = _keys(images, cells + torch.tensor(step, device=keys.device))
        place = torch.searchsorted(occupied, wanted).clamp(max=len(occupied) - 1)
        there = occupied[place] == wanted
        yield ends[place] - sizes[place], torch.where(there, sizes[place], 0)


def _close_among(
    points: Float[Tensor, "n 3"],
    members: Int64[Tensor, " m"],
    starts: Int64[Tensor, " m"],
    counts: Int64[Tensor, " m"],
    cutoff: float,
) -> Iterator[Int64[Tensor, "2 p"]]:
    """Of every bead and its candidates, those closer than the cutoff, as indices into `points`."""
    busy = torch.nonzero(counts).squeeze(1)
    if len(busy) == 0:
        return
    starts, counts = starts[busy], counts[busy]
    totals = torch.cumsum(counts, dim=0)
    bounds = torch.arange(0, int(totals[-1]), _CANDIDATES_AT_ONCE, device=totals.device)
    cuts = torch.unique(torch.searchsorted(totals, bounds, right=True)).tolist()
    for begin, end in itertools.pairwise([*cuts, len(busy)]):
        part = counts[begin:end]
        own = torch.repeat_interleave(busy[begin:end], part)
        within = torch.arange(len(own), device=own.device) - torch.repeat_interleave(torch.cumsum(part, 0) - part, part)
        other = torch.repeat_interleave(starts[begin:end], part) + within
        pair = torch.stack((members[own], members[other]))
        distance = (points[pair[0]] - points[pair[1]]).square().sum(dim=1)
        yield pair[:, distance < cutoff**2]
