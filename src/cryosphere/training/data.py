"""Batches of particles for training and analysis, in any order, one batch ahead of the consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere.distribution import ALONE, World
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.grid import ImageGrid
from cryosphere.model.batch import Batch, Share
from cryosphere.particles.cache import ParticleImages
from cryosphere.particles.checked_array import CheckedArray
from cryosphere.progress import SILENT, Progress
from cryosphere.training.config import Config
from cryosphere.training.particle_store import ParticleStore, StoredParticles, free_memory, place, to_device

Rows = NDArray[np.int64]

READERS = 2  # threads: one reads while the other waits for the disk
AHEAD = 3  # batches read before they are asked for


@dataclass(frozen=True)
class Split:
    """Which particles are trained on, and which are held out to see whether what is learned holds for others."""

    train: Rows
    validation: Rows

    @classmethod
    def random(cls, count: int, fraction: float, seed: int) -> Split:
        """Hold out a fraction, at least one image unless fraction is 0 or there are fewer than ten images."""
        held_out = 0 if count < 10 or fraction == 0 else max(1, round(fraction * count))
        order = np.random.default_rng([seed, 0x5EED]).permutation(count)
        return cls(np.sort(order[held_out:]), np.sort(order[:held_out]))

    @classmethod
    def of(cls, config: Config, count: int) -> Split:
        """The split of a run. The free encoder learns nothing of an image it is not trained on, so none is held out."""
        fraction = 0.0 if config.encoder.kind == "free" else config.training.validation_fraction
        return cls.random(count, fraction, config.training.seed)


def epoch_order(rows: Rows, seed: int, epoch: int) -> Rows:
    """The rows in the order of one epoch: a permutation that depends on nothing but seed and epoch."""
    return rows[np.random.default_rng([seed, 1, epoch]).permutation(len(rows))]


class ParticleLoader:
    """Hands out batches on a device. Poses and CTFs stay there; images come from the cache, some batches ahead.

    Images are cropped in Fourier space to the pixels of `grid`. Where several processes share the work, `world` are
    these.
    """

    def __init__(
        self,
        images: ParticleImages,
        features: CheckedArray | None,
        device: torch.device,
        *,
        grid: ImageGrid | None = None,
        world: World = ALONE,
    ) -> None:
        self.images = images
        self.world = world
        self.device = device
        self.store: ParticleStore = StoredParticles(images, features, device, grid.box if grid else images.box)
        self.rotations = torch.as_tensor(images.table.rotations, dtype=torch.float32, device=device)
        self.ctf = CtfParameters.from_table(images.table, device)

    def __len__(self) -> int:
        return len(self.images)

    def settle(self, progress: Progress = SILENT) -> None:
        """Copy the images to the device, if it is a GPU with room for them: for work that goes over them repeatedly."""
        if isinstance(self.store, StoredParticles):
            self.store = place(self.store, free_memory(self.device), progress)

    def batch(self, rows: Rows) -> Batch:
        """The particles of the given rows, in that order."""
        index = to_device(torch.as_tensor(rows, dtype=torch.int64), self.device)
        spectra, features = self.store.fetch(rows, index)
        return Batch(index, spectra, self.rotations[index], self.ctf[index], features)

    def batches(self, rows: Rows, size: int) -> Iterator[Batch]:
        """All the given particles, in order, `size` at a time; the last batch is as small as it must be."""
        return self._ahead(steps_of(rows, size))

    def shares(self, rows: Rows, size: int) -> Iterator[Batch]:
        """This process's share of every step, where `size` of the given particles at a time make a step.

        All processes take part in every step: one whose share is empty gets the step's first image, not to be counted.
        """
        held, shares = [], []
        for step in steps_of(rows, size):
            own = self.world.piece(len(step))
            count = own.stop - own.start
            held.append(step[own] if count else step[:1])
            shares.append(Share(own.start if count else 0, count, len(step), self.world.size))
        return (replace(batch, held=share) for batch, share in zip(self._ahead(held), shares, strict=True))

    def _ahead(self, pieces: Sequence[Rows]) -> Iterator[Batch]:
        """The particles of piece after piece; the next ones are read while the consumer has the last."""
        with ThreadPoolExecutor(max_workers=READERS) as pool:
            waiting = deque(pool.submit(self.batch, piece) for piece in pieces[:AHEAD])
            for piece in [*pieces[AHEAD:], *[None] * len(waiting)]:
                current = waiting.popleft().result()
                if piece is not None:
                    waiting.append(pool.submit(self.batch, piece))
                yield current


def steps_of(rows: Rows, size: int) -> list[Rows]:
    """The rows in order, `size` at a time; the last step is as small as it must be."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
