"""What training minimises: minus the correlation of predicted and observed images, divergences, and restraints."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryosphere.fourier import from_spectrum
from cryosphere.structures.neighbours import close_pairs


class Losses(NamedTuple):
    """Named terms, each a scalar averaged over the batch; `total` is their weighted sum, the one to minimise.

    Where several processes share a step's images the terms are averages over a process's own, and the mean of all
    processes' totals is to be minimised.

    A named tuple, since lightning-fabric walks through a model's outputs and takes no frozen dataclass.
    """

    correlation: Tensor
    kl_latent: Tensor  # nats per image
    kl_segments: Tensor  # nats for the whole data set
    continuity: Tensor  # Å²
    clash: Tensor  # Å²
    elastic: Tensor  # Å²
    total: Tensor
    correlations: Tensor  # (n,), image by image
    occupancy: Tensor  # nats for the whole data set

    def terms(self) -> dict[str, Tensor]:
        """The scalar terms by name, `total` last."""
        names = ("correlation", "kl_latent", "kl_segments", "continuity", "clash", "elastic", "occupancy", "total")
        return {name: getattr(self, name) for name in names}


def spectral_correlation(
    predicted: Complex[Tensor, "n box half"],
    observed: Complex[Tensor, "n box half"],
    weights: Float[Tensor, "box half"],
) -> Float[Tensor, " n"]:
    """Normalised correlation of images from their half-spectra (equation 7), with a weight for each frequency.

    With `parseval_weights` it is the correlation of the pixels; with those times a squared low-pass filter, of both
    images after the filter. 0 where either image is empty.
    """
    product = (weights * (predicted.real * observed.real + predicted.imag * observed.imag)).sum((-2, -1))
    power = (weights * (predicted.real.square() + predicted.imag.square())).sum((-2, -1))
    observed_power = (weights * (observed.real.square() + observed.imag.square())).sum((-2, -1))
    return product * torch.rsqrt((power * observed_power).clamp_min(1e-20))


def masked_correlation(
    predicted: Complex[Tensor, "n box half"],
    observed: Complex[Tensor, "n box half"],
    low_pass: Float[Tensor, "box half"],
    mask: Float[Tensor, "box box"],
) -> Float[Tensor, " n"]:
    """Normalised correlation of images after the low-pass filter and inside the mask, both applied to both images."""
    box = mask.shape[-1]
    left, right = (from_spectrum(spectra * low_pass, box) * mask for spectra in (predicted, observed))
    product = (left * right).sum((-2, -1))
    return product * torch.rsqrt((left.square().sum((-2, -1)) * right.square().sum((-2, -1))).clamp_min(1e-20))


def continuity(
    positions: Float[Tensor, "n beads 3"], base: Float[Tensor, "beads 3"], bonded: Int[Tensor, "pairs 2"]
) -> Float[Tensor, ""]:
    """Mean squared change, Å², of the distance between consecutive residues (equation 9); 0 without bonds."""
    return _mean_squared_stretch(positions, base, bonded)


def elastic(
    positions: Float[Tensor, "n beads 3"], base: Float[Tensor, "beads 3"], springs: Int[Tensor, "pairs 2"]
) -> Float[Tensor, ""]:
    """Mean squared change, Å², of the distance between residues that are neighbours in the base structure."""
    return _mean_squared_stretch(positions, base, springs)


def _mean_squared_stretch(positions: Tensor, base: Tensor, pairs: Tensor) -> Tensor:
    if len(pairs) == 0:
        return positions.new_zeros(())
    change = _distances(positions, pairs) - _distances(base[None], pairs)
    return change.square().mean()


def _distances(positions: Tensor, pairs: Tensor) -> Tensor:
    difference = positions.index_select(1, pairs[:, 0]) - positions.index_select(1, pairs[:, 1])
    return difference.square().sum(-1).clamp_min(1e-12).sqrt()


def clash(
    positions: Float[Tensor, "n beads 3"], bonded: Int[Tensor, "pairs 2"], distance: float = 4.0
) -> Float[Tensor, ""]:
    """Mean over images of the mean squared depth, Å², of the pairs closer than `distance` Å (equation 10).

    All non-bonded pairs of the deformed structures count, found by a neighbour search; an image in which nothing
    clashes counts 0.
    """
    count = positions.shape[1]
    image, first, second = close_pairs(positions.detach(), distance)
    is_bonded = torch.isin(first * count + second, bonded[:, 0] * count + bonded[:, 1])
    image, first, second = image[~is_bonded], first[~is_bonded], second[~is_bonded]
    gap = (positions[image, first] - positions[image, second]).square().sum(-1).clamp_min(1e-12).sqrt()
    depth = positions.new_zeros(len(positions)).index_add(0, image, (gap - distance).square())
    pairs = positions.new_zeros(len(positions)).index_add(0, image, torch.ones_like(gap))
    return (depth / pairs.clamp_min(1.0)).mean()


def calibrated_kl_weight(correlation: Tensor, independent_pixels: float | Tensor) -> Tensor:
    """Weight of the divergence, per nat, beside minus the correlation: (1 - c²) / (c n).

    With images of unit variance and expected correlation c, the Gaussian log-likelihood of n independent pixels
    changes by n c / (1 - c²) for each unit of correlation. `correlation` is bounded below by 0.005.
    """
    c = correlation.clamp(0.005, 0.999)
    return (1 - c.square()) / (c * independent_pixels)
