"""Gaussian approximate posteriors: drawing from them and their divergence from a Gaussian prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryosphere.model.batch import Share


@dataclass(frozen=True)
class Gaussian:
    """Independent normal distributions: mean and logarithm of the standard deviation, of equal shape."""

    mean: Tensor
    log_sd: Tensor

    @property
    def sd(self) -> Tensor:
        """Standard deviation; positive by construction."""
        return self.log_sd.exp()

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One reparametrised draw: mean + sd · ε, with ε from the generator."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + self.sd * noise

    def sample_share(self, generator: torch.Generator | None, share: Share) -> Tensor:
        """The same draw for a share of the rows as `sample` makes for all of them together."""
        shape = (share.total, *self.mean.shape[1:])
        noise = torch.randn(shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + self.sd * noise[share.first : share.first + len(self.mean)]


def kl_divergence(
    posterior: Gaussian, prior_mean: Float[Tensor, "*#shape"] | float = 0.0, prior_sd: float = 1.0
) -> Float[Tensor, "*shape"]:
    """KL(posterior ‖ N(prior_mean, prior_sd²)) in nats, element by element."""
    ratio = posterior.sd / prior_sd
    distance = (posterior.mean - prior_mean) / prior_sd
    return 0.5 * (ratio.square() + distance.square() - 1) - ratio.log()
