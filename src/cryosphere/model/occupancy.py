"""How much of each residue the images show: amplitudes learned beside the motions, between absent and whole.

A deformed atomic model can move residues, but not remove those that the images lack (Kull et al. 2025, B.2.4, which
leaves learned amplitudes to future work). Here every bead's amplitude is multiplied by an occupancy, one for all images
or one that depends on an image's latent.

The correlation of images does not change when all amplitudes are multiplied by one number, so that images show ratios
of occupancies alone. They are therefore told relative to the upper quartile over the residues, which is 1 by
definition: up to three quarters of a structure may be absent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from cryosphere.model.networks import perceptron

PRESENT = 2.0  # logit that all start at, 0.88: when all are divided by that, one alone can reach 1.14
QUARTILE = 0.75  # of the residues have an occupancy of 1 at most


class Occupancy(nn.Module):
    """The fraction of each residue that is there, relative to the residues that are there most.

    It is set at places: every `window` residues along each stretch of bonded residues, straight (in the logit) between
    them; or at segments, whose residues share it. At a place it is the logistic function of a number that is learned,
    to which, with `hidden` layers given, a network adds what the latent says.
    """

    def __init__(self, places: Places, latent_dim: int, hidden: Sequence[int] | None, *, prior: Prior) -> None:
        super().__init__()
        self.places = places
        self.prior = prior
        self.logits = nn.Parameter(torch.full((places.count,), PRESENT))
        self.network = None if hidden is None else perceptron(latent_dim, hidden, places.count, final_gain=0.1)

    def forward(
        self, z: Float[Tensor, "n latent"], membership: Float[Tensor, "beads segments"]
    ) -> Float[Tensor, "#n beads"]:
        """Occupancies at latents: 0 is absent, 1 whole, hardly more. One row where they depend on no latent."""
        logits = self.logits[None] if self.network is None else self.logits + self.network(z)
        shown, weights = self.places(logits, membership)
        occupancies: Tensor = shown / _upper_quartile(*weights)[:, None]
        return occupancies


class Prior(nn.Module):
    """What absence costs, in nats once for the whole data set: the negative logarithm of exponential priors.

    A residue that is wholly absent costs `absence`, a step from whole to absent between bonded residues `step`: what is
    missing from a protein is a few stretches of it. Partial ones cost in proportion.
    """

    bonded: Tensor

    def __init__(self, bonded: Int[Tensor, "pairs 2"], *, absence: float = 1.0, step: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("bonded", bonded, persistent=False)
        self.absence = absence
        self.step = step

    def forward(self, occupancy: Float[Tensor, "n beads"]) -> Float[Tensor, ""]:
        """Mean over the rows."""
        absent = (1 - occupancy).abs().sum(1)
        ends = (occupancy.index_select(1, self.bonded[:, i]) for i in (0, 1))
        steps = torch.sub(*ends).abs().sum(1)
        return (self.absence * absent + self.step * steps).mean()


Weighted = tuple[Tensor, Tensor]
"""Values at the places, (n, places), and how many residues each stands for, (places,)."""


class Places(nn.Module, ABC):
    """Where along the model occupancies are set."""

    count: int

    @abstractmethod
    def forward(self, logits: Tensor, membership: Tensor) -> tuple[Tensor, Weighted]:
        """Residues' occupancies (n, beads) before they are divided, and those at the places, from logits there."""


class AlongChain(Places):
    """Places every few residues along each stretch of bonded residues; what is bonded to nothing has its own."""

    below: Tensor
    share: Tensor
    residues: Tensor

    def __init__(self, beads: int, bonded: Int[Tensor, "pairs 2"], window: int) -> None:
        super().__init__()
        below, share, self.count = _between_places(beads, bonded.numpy(), window)
        self.register_buffer("below", torch.from_numpy(below), persistent=False)
        self.register_buffer("share", torch.from_numpy(share).float(), persistent=False)
        residues = torch.zeros(self.count).index_add(0, self.below, 1 - self.share)
        residues = residues.index_add(0, (self.below + 1).clamp_max(self.count - 1), self.share)
        self.register_buffer("residues", residues, persistent=False)

    def forward(self, logits: Tensor, membership: Tensor) -> tuple[Tensor, Weighted]:
        above = (self.below + 1).clamp_max(self.count - 1)
        between = torch.lerp(logits.index_select(1, self.below), logits.index_select(1, above), self.share)
        return torch.sigmoid(between), (torch.sigmoid(logits), self.residues)


class OfSegments(Places):
    """One occupancy for each segment, and a last one for residues that belong to none."""

    def __init__(self, segments: int) -> None:
        super().__init__()
        self.count = segments + 1

    def forward(self, logits: Tensor, membership: Tensor) -> tuple[Tensor, Weighted]:
        whole = torch.cat([membership, 1 - membership.sum(1, keepdim=True)], dim=1)
        values = torch.sigmoid(logits)
        return values @ whole.mT, (values, whole.detach().sum(0))


def _between_places(
    beads: int, bonded: NDArray[np.int64], window: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """For every bead the place before it and how far it is on the way to the next (0 to 1), and the number of places.

    The ends of every stretch of beads that are bonded to the next are places.
    """
    follows = np.zeros(beads, dtype=bool)
    pairs = np.sort(bonded.reshape(-1, 2), axis=1)
    follows[pairs[pairs[:, 1] == pairs[:, 0] + 1, 1]] = True
    stretch = np.cumsum(~follows) - 1
    starts = np.flatnonzero(~follows)
    lengths = np.diff(starts, append=beads)
    intervals = -(-(lengths - 1) // window)
    first = np.cumsum(intervals + 1) - (intervals + 1)
    along = np.arange(beads) - starts[stretch]
    place = along * intervals[stretch] / np.maximum(lengths - 1, 1)[stretch]
    below = np.minimum(np.floor(place), np.maximum(intervals[stretch] - 1, 0)).astype(np.int64)
    return first[stretch] + below, place - below, int((intervals + 1).sum())


def _upper_quartile(values: Float[Tensor, "n places"], weights: Float[Tensor, " places"]) -> Float[Tensor, " n"]:
    """The value of each row that three quarters of the weights do not exceed."""
    ordered, order = values.sort(dim=1)
    reached = weights[order].cumsum(1) >= QUARTILE * weights.sum() * (1 - 1e-6)
    return ordered.gather(1, reached.int().argmax(1, keepdim=True))[:, 0]
