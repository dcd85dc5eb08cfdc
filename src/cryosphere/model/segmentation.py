"""Cutting the residue chain into segments: a one-dimensional Gaussian mixture over residue indices (equations 5, 6).

Positions along the chain are measured in segment lengths from the start of the segment's part, so that means, widths
and learning rates have the same size for 50 and for 50,000 residues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import elu

from cryosphere.model.posteriors import Gaussian, kl_divergence

START_WIDTH = 0.5  # of an even share: at temperature 20, nine residues in ten then belong to one segment alone

SHAPED_WIDTH = 0.25  # of a segment: where fitting a mixture to a membership starts
SHARPENED = 4  # power of the membership a mixture is fitted to
WELL_SHAPED = 0.98  # of the residues in the wanted segment: a mixture that comes less close is not taken


@dataclass(frozen=True)
class Part:
    """A stretch of residues, `first` to `last` inclusive by residue index, cut into `segments` segments.

    `means` and `widths`, in residues (index, and standard deviation), start the segments elsewhere than evenly.
    """

    first: int
    last: int
    segments: int
    means: tuple[float, ...] | None = None
    widths: tuple[float, ...] | None = None

    @property
    def length(self) -> int:
        """Number of residues."""
        return self.last - self.first + 1

    @property
    def unit(self) -> float:
        """Residues per segment if all were equally long: the unit of the mixture's parameters."""
        return self.length / self.segments


class Segmentation(nn.Module):
    """Learned soft assignment of residues to segments, with a Gaussian posterior over the mixture's parameters.

    Residues outside every part belong to no segment and stay where they are. The prior of a segment's mean is centred
    on its start value; of its width (before ELU + 1) and of its logit weight on their start values too; all with
    standard deviation `prior_sd` (segment lengths for the mean). With start values evenly spaced this is the paper's
    standard-normal prior in coordinates that do not depend on the length of the chain.

    `along_chain` is where each bead stands along the chain: its residue index, or for a ligand, which stands nowhere,
    that of the residue it belongs to.
    """

    along_chain: Tensor
    first: Tensor
    unit: Tensor
    allowed: Tensor
    start_mean: Tensor
    start_width: Tensor
    alive: Tensor

    def __init__(
        self,
        along_chain: Int[Tensor, " residues"],
        parts: Sequence[Part],
        *,
        temperature: float = 20.0,
        prior_sd: float = 1.0,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.prior_sd = prior_sd
        self.register_buffer("along_chain", along_chain, persistent=False)
        index = along_chain
        allowed, first, unit, means, widths = [], [], [], [], []
        for part in parts:
            inside = (index >= part.first) & (index <= part.last)
            allowed += [inside] * part.segments
            first += [part.first - 0.5] * part.segments
            unit += [part.unit] * part.segments
            even = [part.first - 0.5 + (m + 0.5) * part.unit for m in range(part.segments)]
            means += list(part.means or even)
            widths += list(part.widths or [START_WIDTH * part.unit] * part.segments)
        self.register_buffer("allowed", torch.stack(allowed, dim=1))  # (residues, segments)
        self.register_buffer("first", torch.tensor(first))
        self.register_buffer("unit", torch.tensor(unit))
        self.register_buffer("start_mean", (torch.tensor(means) - self.first) / self.unit)
        self.register_buffer("start_width", _inverse_elu_plus_one(torch.tensor(widths) / self.unit))
        count = len(unit)
        self.register_buffer("alive", torch.ones(count, dtype=torch.bool))  # False: joined to another segment
        self.mean = nn.Parameter(self.start_mean.clone())
        self.width = nn.Parameter(self.start_width.clone())
        self.logit = nn.Parameter(torch.zeros(count))
        self.log_sd = nn.Parameter(torch.full((3, count), -4.0))  # posterior spreads of mean, width, logit

    @property
    def count(self) -> int:
        """Number of segments."""
        return len(self.mean)

    def posteriors(self) -> tuple[Gaussian, Gaussian, Gaussian]:
        """Approximate posteriors of the segments' means, widths (before ELU + 1) and logit weights."""
        return tuple(  # type: ignore[return-value]
            Gaussian(centre, self.log_sd[i]) for i, centre in enumerate((self.mean, self.width, self.logit))
        )

    def forward(self, generator: torch.Generator | None = None, *, draw: bool) -> Float[Tensor, "residues segments"]:
        """Membership of each residue in each segment; rows sum to 1 (to 0 outside every part).

        With `draw` the mixture is drawn from its posterior, once for the whole batch; without, it is the posterior
        mean, which is what every analysis uses.
        """
        posteriors = self.posteriors()
        mean, width, logit = (p.sample(generator) if draw else p.mean for p in posteriors)
        return self._membership(mean, width, logit)

    def _membership(self, mean: Tensor, width: Tensor, logit: Tensor) -> Tensor:
        position = (self.along_chain[:, None] - self.first) / self.unit  # in each segment's own units
        sigma = (elu(width) + 1).clamp_min(1e-3)
        log_density = -0.5 * ((position - mean) / sigma).square() - sigma.log() + logit
        scaled = (self.temperature * log_density).masked_fill(~(self.allowed & self.alive), -torch.inf)
        somewhere = self.allowed.any(dim=1, keepdim=True)
        return torch.softmax(scaled.where(somewhere, 0.0), dim=1) * somewhere

    def kl(self) -> Float[Tensor, ""]:
        """KL divergence of the mixture's posterior from its prior, in nats, for the whole data set.

        Segments joined to another no longer count.
        """
        priors = (self.start_mean, self.start_width, torch.zeros_like(self.logit))
        pairs = zip(self.posteriors(), priors, strict=True)
        return (torch.stack([kl_divergence(q, p, self.prior_sd) for q, p in pairs]) * self.alive).sum()

    def take_shape(self, membership: Float[Tensor, "residues segments"], *, steps: int = 500) -> float:
        """Change the mixture so that it gives this membership; segments without residues are no longer alive.

        The membership is sharpened first: a border residue shared by two segments makes half the turn of each about
        their centres, which puts it away from both, so a soft border is worse than one a few residues off.

        Returns the fraction of residues (of those in some part) whose strongest segment is then the wanted one. The
        posteriors' spreads stay.
        """
        mass = membership.sum(0)
        alive = mass > 0.5
        place = (membership * self.along_chain[:, None]).sum(0) / mass.clamp_min(1e-6)
        centre = torch.where(alive, (place - self.first) / self.unit, self.mean.detach())
        width = _inverse_elu_plus_one((SHAPED_WIDTH * mass / self.unit).clamp_min(1e-2))
        values = [v.clone().requires_grad_() for v in (centre, width, (mass / self.unit).clamp_min(1e-2).log())]
        before = self.alive.clone()
        self.alive.copy_(alive)
        inside = self.allowed.any(dim=1)
        wanted = membership.pow(SHARPENED)
        wanted = wanted / wanted.sum(1, keepdim=True).clamp_min(1e-12)
        optimizer = torch.optim.Adam(values, lr=0.03)
        for _ in range(steps):
            optimizer.zero_grad()
            given = self._membership(*values)
            loss = -(wanted * given.clamp_min(1e-12).log())[inside].sum(1).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        agreement = (given.argmax(1) == membership.argmax(1))[inside].float().mean()
        if agreement < WELL_SHAPED:
            self.alive.copy_(before)
            return float(agreement)
        with torch.no_grad():
            for parameter, value in zip((self.mean, self.width, self.logit), values, strict=True):
                parameter.copy_(torch.where(alive, value, parameter))
        return float(agreement)


def _inverse_elu_plus_one(width: Tensor) -> Tensor:
    return torch.where(width > 1, width - 1, width.clamp_min(1e-3).log())
