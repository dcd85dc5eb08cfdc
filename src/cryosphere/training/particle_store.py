"""Where a loader's images come from: the cache's file, batch after batch, or all of them from the device's own memory.

On a GPU whose memory holds them all, images are copied there once, as the half-precision numbers that the cache has;
a batch is then a handful of rows, and nothing passes between host and device. Otherwise batches pass through pinned
memory: the host goes on while they are copied; the device copies them between two steps.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryosphere.particles.cache import ParticleImages
from cryosphere.particles.checked_array import CheckedArray
from cryosphere.particles.row_numbers import Rows
from cryosphere.progress import SILENT, Progress

log = logging.getLogger(__name__)

SHARE_OF_MEMORY = 0.6  # of what is free on a GPU: the rest is for the model and a step
COPIED_AT_ONCE = 1 << 28  # bytes


@dataclass(frozen=True)
class StoredParticles:
    """Preprocessed images and lifted features in their files; `box`: the pixels that images are cropped to."""

    images: ParticleImages
    features: CheckedArray | None
    device: torch.device
    box: int

    def fetch(self, rows: Rows, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Half-spectra and features of the given rows, on the device; `index` are the same rows, there."""
        spectra = self.images.unpacked(to_device(self.images.packed(rows, self.box), self.device), self.box)
        if self.features is None:
            return spectra, None
        return spectra, to_device(torch.from_numpy(self.features.read(rows)), self.device).float()

    @property
    def bytes(self) -> int:
        """What all of it takes on a device."""
        packed = self.images.packed(np.zeros(1, dtype=np.int64), self.box)
        per_image = packed[0].nbytes + (2 * self.features.shape[1] if self.features else 0)
        return per_image * len(self.images)


@dataclass(frozen=True)
class ResidentParticles:
    """The same, in the memory of the device, as float16."""

    images: ParticleImages
    packed: Tensor  # (n, kept, half, 2)
    features: Tensor | None  # (n, points)
    box: int

    def fetch(self, rows: Rows, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Half-spectra and features of the given rows, on the device; `index` are the same rows, there."""
        spectra = self.images.unpacked(self.packed.index_select(0, index), self.box)
        return spectra, None if self.features is None else self.features.index_select(0, index).float()

    @classmethod
    def copy(cls, stored: StoredParticles, progress: Progress = SILENT) -> ResidentParticles:
        """Copy everything to the device, some hundred megabytes at a time."""
        count = len(stored.images)
        size = max(1, COPIED_AT_ONCE * count // max(1, stored.bytes))
        packed: Tensor | None = None
        features: Tensor | None = None
        with progress.track(count, "copying images to the GPU") as advance:
            for start in range(0, count, size):
                rows = np.arange(start, min(start + size, count))
                some = to_device(stored.images.packed(rows, stored.box), stored.device)
                packed = some.new_empty(count, *some.shape[1:]) if packed is None else packed
                packed[start : start + len(rows)] = some
                if stored.features is not None:
                    lifted = to_device(torch.from_numpy(stored.features.read(rows)), stored.device)
                    features = lifted.new_empty(count, lifted.shape[1]) if features is None else features
                    features[start : start + len(rows)] = lifted
                advance(len(rows))
        assert packed is not None  # there is at least one particle
        return cls(stored.images, packed, features, stored.box)


ParticleStore = StoredParticles | ResidentParticles


def place(stored: StoredParticles, free: int | None, progress: Progress = SILENT) -> ParticleStore:
    """The store to take batches from; `free` are the bytes free on the device, None where it shares the host's memory.

    On a processor files are read as they are: the system keeps in memory what it can.
    """
    if free is None:
        return stored
    needed = stored.bytes
    if needed > SHARE_OF_MEMORY * free:
        log.info(
            "images: %.3g GB do not fit in the %.3g GB that are free on the GPU; they are read from %s",
            *(needed / 1e9, free / 1e9, stored.images.path),
        )
        return stored
    log.info("images: all of them on the GPU (%.3g of %.3g GB)", needed / 1e9, free / 1e9)
    return ResidentParticles.copy(stored, progress)


def free_memory(device: torch.device) -> int | None:
    """Bytes free on a GPU; None for a processor."""
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()  # what was used before and is free by now counts as free
    return int(torch.cuda.mem_get_info(device)[0])


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Values on the device, through pinned memory where that lets host and device go on meanwhile."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
