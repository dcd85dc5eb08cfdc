"""The volume decoder learns what the images of each state have beside the consensus map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryosphere.volumes.decoder_network import FourierNetwork
from cryosphere.volumes.decoder_sums import Band, StateSums

AT_ONCE = 4096  # frequencies in a step
_WARM_UP = 0.05  # of all steps


@dataclass(frozen=True)
class Evidence:
    """The sums of all groups in the network's own units: coefficients in the signal's amplitude of their shell.

    frequencies: (p, 3) in 1/Å. The misfit of coefficients u is Σ weights · |u|² - 2 products · u.
    """

    frequencies: Float[Tensor, "p 3"]
    products: Float[Tensor, "p 2 groups"]
    weights: Float[Tensor, "p groups"]

    @classmethod
    def of(cls, sums: StateSums, amplitudes: Float[Tensor, " shells"], band: Band) -> Evidence:
        """Weigh the sums by the noise of their shell; amplitudes of the signal in each shell, 0 to the band's last."""
        radii = sums.radii
        amplitude = between_shells(amplitudes, radii)
        noise = sums.noise(amplitudes.square())[(radii + 0.5).long().clamp_max(band.cycles)]
        products = sums.products * (amplitude / noise)[:, None, None]
        weights = sums.weights * (amplitude.square() / noise)[:, None]
        size = weights.mean().clamp_min(1e-30)
        return cls(sums.places.float() / (2 * band.length), products / size, weights / size)

    def misfit(self, found: Float[Tensor, "some 2 groups"], rows: Tensor) -> Tensor:
        """Mean over places and groups of what coefficients at these places leave, less what zeros leave."""
        weights, products = self.weights[rows], self.products[rows]
        return (weights * found.square().sum(1) - 2 * (products * found).sum(1)).mean()


@dataclass(frozen=True)
class Training:
    """How long, in how large steps, and in which random order."""

    epochs: int
    learning_rate: float
    seed: int


def between_shells(values: Float[Tensor, " shells"], radii: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
    """Values of whole shells at any radius up to the last one, linear in between."""
    radii = radii.clamp(0.0, len(values) - 1.0)
    lower = radii.floor().long().clamp_max(max(len(values) - 2, 0))
    upper = (lower + 1).clamp_max(len(values) - 1)
    share = radii - lower
    return values[lower] * (1 - share) + values[upper] * share


def train(
    network: FourierNetwork,
    evidence: Evidence,
    z: Float[Tensor, "groups latent"],
    how: Training,
    advance: Callable[[int], None],
) -> None:
    """Fit the network to the evidence of groups with these latents.

    One epoch meets each frequency of the grid once, in random order, with all groups and so with all images. Steps of
    Adam; their length grows at first, and falls to nothing along a cosine.
    """
    count, device = len(evidence.frequencies), z.device
    generator = torch.Generator().manual_seed(how.seed)
    total = how.epochs * -(-count // AT_ONCE)
    optimiser = torch.optim.Adam(
        network.parameters(), lr=how.learning_rate, betas=(0.9, 0.99), fused=device.type == "cuda"
    )
    warm = max(1, int(_WARM_UP * total))
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimiser,
        [
            torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warm, 1.0, warm),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, total - warm)),
        ],
        [warm],
    )
    for _ in range(how.epochs):
        order = torch.randperm(count, generator=generator).to(device, non_blocking=True)
        for rows in torch.split(order, AT_ONCE):
            optimiser.zero_grad(set_to_none=True)
            misfit = evidence.misfit(network(evidence.frequencies[rows], z), rows)
            misfit.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        advance(1)
