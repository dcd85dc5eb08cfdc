"""From an image to the approximate posterior of its latent variable: three encoders behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from cryosphere.fourier import from_spectrum
from cryosphere.model.batch import Batch
from cryosphere.model.networks import perceptron
from cryosphere.model.posteriors import Gaussian

MAXIMUM_LOG_SD = 2.0


class Encoder(Protocol):
    """q(z | image): called with a batch, gives a Gaussian of shape (n, latent_dim)."""

    def __call__(self, batch: Batch) -> Gaussian: ...


class LiftedEncoder(nn.Module):
    """A perceptron on lifted features (`cryosphere.model.lifting`) and the nine numbers of the rotation."""

    def __init__(self, points: int, hidden: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        self.network = perceptron(points + 9, hidden, 2 * latent_dim, final_gain=0.1)

    def forward(self, batch: Batch) -> Gaussian:
        """Posterior of each particle's latent."""
        if batch.features is None:
            raise ValueError("the lifted encoder needs batches with lifted features")
        inputs = torch.cat([batch.features.to(batch.rotations.dtype), batch.rotations.flatten(1)], dim=1)
        return _gaussian(self.network(inputs))


class PixelEncoder(nn.Module):
    """The paper's encoder: a perceptron on the low-passed image's pixels, inside a circular mask."""

    inside: Tensor
    keep: Tensor

    def __init__(self, mask: Tensor, keep: Tensor, hidden: Sequence[int], latent_dim: int) -> None:
        """`mask` (box, box): the pixels looked at. `keep` (box, box // 2 + 1): a low-pass filter applied before."""
        super().__init__()
        self.box = mask.shape[-1]
        self.register_buffer("inside", mask.flatten().nonzero()[:, 0])
        self.register_buffer("keep", keep, persistent=False)
        self.network = perceptron(len(self.inside), hidden, 2 * latent_dim, final_gain=0.1)

    def forward(self, batch: Batch) -> Gaussian:
        """Posterior of each particle's latent."""
        pixels = from_spectrum(batch.spectra * self.keep, self.box).flatten(1)
        return _gaussian(self.network(pixels.index_select(1, self.inside)))


class FreeEncoder(nn.Module):
    """No encoder: each particle has its own mean and spread, learned directly (the paper's non-amortised option)."""

    def __init__(self, particles: int, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(particles, latent_dim))
        self.log_sd = nn.Parameter(torch.full((particles, latent_dim), -1.0))

    def forward(self, batch: Batch) -> Gaussian:
        """Posterior of each particle's latent."""
        log_sd = self.log_sd.index_select(0, batch.rows)
        return Gaussian(self.mean.index_select(0, batch.rows), _bounded(log_sd))


def _gaussian(outputs: Tensor) -> Gaussian:
    mean, log_sd = outputs.chunk(2, dim=-1)
    return Gaussian(mean, _bounded(log_sd))


def _bounded(log_sd: Tensor) -> Tensor:
    """Keep a spread between e⁻⁸ and e², so that no draw overflows."""
    return log_sd.clamp(-8.0, MAXIMUM_LOG_SD)
