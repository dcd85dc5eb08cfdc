"""How much of what the decoder's networks have learned is kept: as much as foretells the other half's images.

A network that goes on learning from noisy images learns their noise. The images of the other half have other noise, and
the same density: at the same groups of latents their sums say which of a network's components are of the density.

To end the training where the other half is foretold best was tried, too. Measured on simulated images at SNR 0.01, the
map of both halves was then less like what moves: a network that is stopped early has not yet learned it, and the mean
of two halves may hold twice the noise of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryosphere.volumes.decoder_network import FourierNetwork
from cryosphere.volumes.decoder_training import Evidence

_AT_ONCE = 8192  # frequencies
_LEAST = 1e-6  # of the mean: added, so that components of which all groups have alike can be told apart


@dataclass(frozen=True)
class Held:
    """What one half's images say: their sums, the latents of their groups, and how many images each group has."""

    evidence: Evidence
    z: Float[Tensor, "groups latent"]
    images: Float[Tensor, " groups"]


@torch.no_grad()
def shares_foretold(network: FourierNetwork, other: Held) -> tuple[Float[Tensor, " c"], Float[Tensor, "c c"]]:
    """How much of each principal component of what a network says is in the other half's images, 0 to 1; and the axes.

    Principal components are the volumes, orthogonal under the images' weights, whose amounts in the groups are
    orthogonal, too. Column j of the axes (components, c) holds the network's own components in the j-th. A share is
    the amount with which a component fits the other half's sums best, cut to 0 to 1.
    """
    evidence, groups = other.evidence, other.images / other.images.sum()
    amounts = network.weights(other.z)
    pieces = torch.split(torch.arange(len(evidence.frequencies), device=amounts.device), _AT_ONCE)
    overlap = torch.zeros(2 * (amounts.shape[1],), dtype=torch.float64, device=amounts.device)
    for rows in pieces:
        volumes = network.components(evidence.frequencies[rows])
        overlap += torch.einsum("pqc,p,pqd->cd", volumes, evidence.weights[rows].mean(1), volumes).double()
    together = ((amounts * groups[:, None]).T @ amounts).double()
    together += _LEAST * together.diagonal().mean().clamp_min(1e-30) * torch.eye(len(together)).to(together)
    root = torch.linalg.cholesky(together)
    axes = root @ torch.linalg.eigh(root.T @ overlap @ root).eigenvectors
    of_axes = (amounts.double() @ torch.linalg.inv(axes).T).float()
    fitted, power = torch.zeros(2, len(axes), dtype=torch.float64, device=amounts.device)
    for rows in pieces:
        volumes = network.components(evidence.frequencies[rows]) @ axes.float()
        fitted += torch.einsum("pqg,pqc,gc->c", evidence.products[rows], volumes, of_axes).double()
        power += torch.einsum("pg,pqc,gc->c", evidence.weights[rows], volumes.square(), of_axes.square()).double()
    return (fitted / power.clamp_min(1e-30)).clamp(0.0, 1.0), axes


@torch.no_grad()
def keep_what_is_foretold(network: FourierNetwork, other: Held) -> Float[Tensor, " c"]:
    """Scale each principal component of what a network says by its share in the other half's images; those shares.

    Amounts are linear in the last layer of the network's mixture, which is changed.
    """
    shares, axes = shares_foretold(network, other)
    kept = (axes * shares @ torch.linalg.inv(axes)).float()
    last = network.last_of_mixture
    last.weight.copy_(kept @ last.weight)
    last.bias.copy_(kept @ last.bias)
    return shares
