"""Slices of images laid for several conformations at once, each image with its own weight in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.distribution import World
from cryosphere.fourier import integer_frequencies
from cryosphere.maps.insertion import SliceSums
from cryosphere.maps.slices import SliceMaker
from cryosphere.progress import Progress
from cryosphere.volumes.bandwidth import Bandwidth, Ladder, epanechnikov
from cryosphere.workers import one_by_one

_PLANES_AT_ONCE = 16


class Layer(Protocol):
    """What one conformation takes of the images."""

    @property
    def sums(self) -> SliceSums: ...
    def takes(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these images count here."""
        ...

    def add(self, products: Tensor, weights: Tensor, rotations: Tensor, rows: NDArray[np.int64]) -> None:
        """Add the slices of these images."""
        ...


@dataclass(frozen=True)
class BinLayer:
    """Images as they are, sorted by their distance: set 2 · bin + half."""

    sums: SliceSums
    sets: NDArray[np.int64]  # (n,)

    @classmethod
    def of(
        cls, ladder: Ladder, distances: NDArray[np.floating], halves: NDArray[np.int64], empty: SliceSums
    ) -> BinLayer:
        """A layer for the bins of a ladder."""
        return cls(empty, 2 * ladder.bins(distances) + halves)

    def takes(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """All of them."""
        return np.ones(len(rows), dtype=bool)

    def add(self, products: Tensor, weights: Tensor, rotations: Tensor, rows: NDArray[np.int64]) -> None:
        """Add them to their bins."""
        self.sums.add(products, weights, rotations, torch.from_numpy(self.sets[rows]))


@dataclass(frozen=True)
class KernelLayer:
    """Images of both halves, each counting at each frequency by its distance over the bandwidth there."""

    sums: SliceSums
    halves: NDArray[np.int64]  # (n,)
    distances: NDArray[np.float32]  # (n,) Å
    bandwidth: Bandwidth

    def takes(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Those within the widest bandwidth."""
        return np.asarray(self.distances[rows] < self.bandwidth.widest)

    def add(self, products: Tensor, weights: Tensor, rotations: Tensor, rows: NDArray[np.int64]) -> None:
        """Add what their slices count."""
        share = self._shares(rows, weights)
        self.sums.add(products * share, weights * share, rotations, torch.from_numpy(self.halves[rows]))

    def _shares(self, rows: NDArray[np.int64], like: Tensor) -> Tensor:
        """Of each frequency of each slice, (n, side, half), or (n, 1, 1) where all have one bandwidth."""
        widths, which = np.unique(self.bandwidth.of_shell, return_inverse=True)
        of_width = np.stack([epanechnikov(self.distances[rows], float(width)) for width in widths], axis=1)
        table = torch.as_tensor(of_width, dtype=like.dtype, device=like.device)
        if len(widths) == 1:
            return table[:, :, None]
        side = like.shape[-2]
        across, along = integer_frequencies(side, like.device)
        cycles = torch.hypot(across.float(), along.float()) * (self.sums.box / side)
        shells = cycles.round().long().clamp_max(len(which) - 1)
        return table[:, torch.as_tensor(which.reshape(-1), device=like.device)[shells]]


def lay(maker: SliceMaker, layers: Sequence[Layer], work: tuple[Progress, World], description: str) -> None:
    """Add the images to all layers that take them; each image is read and transformed once.

    The processes of a job share the images, and afterwards all have all sums.
    """
    progress, world = work
    table = maker.stacks.table
    taken = np.zeros(len(table), dtype=bool)
    for layer in layers:
        taken |= layer.takes(np.arange(len(table)))
    rotations = torch.as_tensor(table.rotations, dtype=torch.float32)
    device = layers[0].sums.sums.device
    with world.together():
        batches = list(maker.batches(np.flatnonzero(taken)))
        batches = batches[world.piece(len(batches))]
        with progress.track(sum(map(len, batches)), description) as advance:
            for rows, (products, weights) in one_by_one(lambda some: (some, maker.slices(some, device)), batches):
                for layer in layers:
                    mine = np.flatnonzero(layer.takes(rows))
                    if len(mine):
                        some = slice(None) if len(mine) == len(rows) else torch.as_tensor(mine, device=device)
                        layer.add(products[some], weights[some], rotations[rows[mine]], rows[mine])
                advance(len(rows))
    if world.size > 1:
        for layer in layers:
            for one in layer.sums.sums:
                for planes in one.split(_PLANES_AT_ONCE):
                    planes.copy_(world.sum(planes))
