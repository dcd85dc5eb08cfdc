"""What the model is given for a handful of particles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryosphere.imaging.ctf import CtfParameters


@dataclass(frozen=True)
class Share:
    """Which of a step's images one process looks at, where several share them.

    A process whose share is empty is given an image all the same, which counts nothing.
    """

    first: int  # place of its first image among those of the step
    count: int  # images that count
    total: int  # images of the step, on all processes
    processes: int = 1

    @property
    def weight(self) -> float:
        """What a mean over this share counts, so that the mean over processes is the mean over the step's images."""
        return self.count * self.processes / self.total


@dataclass(frozen=True)
class Batch:
    """n particles: preprocessed images as spectra, with what is known of how they were taken."""

    rows: Tensor  # (n,) int64, position in the particle table
    spectra: Tensor  # (n, box, box // 2 + 1) complex64, centred, normalised; see cryosphere.fourier
    rotations: Tensor  # (n, 3, 3)
    ctf: CtfParameters
    features: Tensor | None = None  # (n, points) what the lifted encoder looks at; None for other encoders
    held: Share | None = None  # of a step's images, where several processes share them; None: these are all

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def share(self) -> Share:
        """Which of a step's images these are."""
        return self.held or Share(0, len(self), len(self))

    def __getitem__(self, some: slice | Tensor) -> Batch:
        """Some of the particles."""
        features = None if self.features is None else self.features[some]
        return Batch(self.rows[some], self.spectra[some], self.rotations[some], self.ctf[some], features)

    def to(self, device: torch.device | str) -> Batch:
        """The same particles on another device."""
        features = None if self.features is None else self.features.to(device, non_blocking=True)
        return Batch(
            self.rows.to(device, non_blocking=True),
            self.spectra.to(device, non_blocking=True),
            self.rotations.to(device, non_blocking=True),
            self.ctf.to(device),
            features,
            self.held,
        )
