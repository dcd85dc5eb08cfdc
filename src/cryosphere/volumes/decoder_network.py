"""The network of the volume decoder: from a latent and a spatial frequency to the density's Fourier coefficient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkSize:
    """How much the network can hold.

    width: of its hidden layers. points: of the positional encoding. components: how many volumes it mixes.
    """

    width: int = 128
    points: int = 256
    components: int = 16


class FourierNetwork(nn.Module):
    """What the density of a state has beside the consensus map's, at any spatial frequency.

    The coefficient at frequency k of the state with latent z is the sum over components j of w_j(z) B_j(k): one part of
    the network mixes, as a function of the latent alone, volumes that the other part knows as functions of the
    frequency alone. So the costly part is evaluated once for each frequency, and not for each pair of both.

    The positional encoding of k is the cosine and sine of 2π k·r for fixed points r, drawn at random in the ball that
    holds the particle: the waves that the spectrum of density inside that ball is made of. Spectra of real densities
    have V(-k) = conj V(k): the network is only asked for one of the two.
    """

    points: Tensor
    middle: Tensor
    spread: Tensor

    def __init__(self, latents: Float[Tensor, "2 latent"], radius: float, size: NetworkSize, seed: int) -> None:
        """For latents of this mean and standard deviation, and density up to `radius` Å from the centre."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        directions = nn.functional.normalize(torch.randn((size.points, 3), generator=generator), dim=-1)
        radii = radius * torch.rand((size.points, 1), generator=generator).pow(1 / 3)
        self.register_buffer("points", directions * radii)
        self.register_buffer("middle", latents[0])
        # one scale for all: a direction that the run has left unused must not be blown up to the others' spread
        self.register_buffer("spread", latents[1].max().clamp_min(1e-6))
        width, components = size.width, size.components
        layers = [nn.Linear(2 * size.points, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()]
        last = nn.Linear(width, 2 * components)
        self.density = nn.Sequential(*layers, last)
        half = max(width // 2, 1)
        layers = [nn.Linear(latents.shape[1], half), nn.SiLU(), nn.Linear(half, half), nn.SiLU()]
        self.mixture = nn.Sequential(*layers, nn.Linear(half, components))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                draw(layer, generator)
        nn.init.zeros_(last.weight)  # it begins as the consensus map
        nn.init.zeros_(last.bias)

    @property
    def last_of_mixture(self) -> nn.Linear:
        """The layer that gives the amounts of the components."""
        layer: nn.Linear = self.mixture[-1]  # type: ignore[assignment]
        return layer

    def components(self, frequencies: Float[Tensor, "p 3"]) -> Float[Tensor, "p 2 components"]:
        """Real and imaginary part of each component's coefficient at frequencies (x, y, z) in 1/Å."""
        phases = frequencies @ (2 * math.pi * self.points).T
        found: Tensor = self.density(torch.cat([phases.cos(), phases.sin()], dim=-1))
        return found.view(len(frequencies), 2, -1)

    def weights(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n components"]:
        """How much of each component is in the states with these latents."""
        found: Tensor = self.mixture((z - self.middle) / self.spread)
        return found

    def forward(self, frequencies: Float[Tensor, "p 3"], z: Float[Tensor, "n latent"]) -> Float[Tensor, "p 2 n"]:
        """Real and imaginary part of each state's coefficient at each frequency."""
        return self.components(frequencies) @ self.weights(z).T


def draw(layer: nn.Linear, generator: torch.Generator) -> None:
    """Draw the weights of a layer, which keep the size of what goes through it."""
    reach = 1 / math.sqrt(layer.in_features)
    for parameter in (layer.weight, layer.bias):
        nn.init.uniform_(parameter, -reach, reach, generator=generator)
