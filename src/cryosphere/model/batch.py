"""What the model is given for a handful of particles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryosphere.imaging.ctf import CtfParameters


@dataclass(frozen=True)
class Batch:
    """n particles: preprocessed images as spectra, with what is known of how they were taken."""

    rows: Tensor  # (n,) int64, position in the particle table
    spectra: Tensor  # (n, box, box // 2 + 1) complex64, centred, normalised; see cryosphere.fourier
    rotations: Tensor  # (n, 3, 3)
    ctf: CtfParameters
    features: Tensor | None = None  # (n, points) what the lifted encoder looks at; None for other encoders

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: slice) -> Batch:
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
        )
