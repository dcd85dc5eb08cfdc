"""What images say of the density of each state: their slices, added up over images of nearly one latent.

The volume decoder minimises, over the images i and their frequencies, |F - CTF · V(k, z_i)|² / noise. Of the images of
one latent, this depends on V only through two sums at each place k: of CTF · F, and of CTF². They are taken once, for
groups of images with nearly the same latent, and on the grid of `cryosphere.maps.insertion`. Training then sees every
image at every step of the way through the frequencies, and costs the same for a thousand images and for ten million.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere import fourier
from cryosphere.distribution import World
from cryosphere.maps.division import LIGHT
from cryosphere.maps.insertion import PADDING, SliceSums
from cryosphere.maps.slices import SliceMaker
from cryosphere.progress import Progress
from cryosphere.workers import one_by_one

_LEAST_NOISE = 0.01  # of an image's power in a shell


@dataclass(frozen=True)
class Band:
    """The frequencies that the decoder learns.

    box: of images cropped to these frequencies. cycles: the highest one, in cycles per field of view.
    """

    box: int
    cycles: int
    length: float  # Å, of the field of view

    @classmethod
    def up_to(cls, cycles: int, box: int, length: float) -> Band:
        """All frequencies up to some cycles per field of view of images of `box` pixels."""
        cycles = max(1, min(cycles, (box - 1) // 2))
        return cls(2 * cycles + 1, cycles, length)


@dataclass(frozen=True)
class StateSums:
    """Sums over the images of each group at the grid's places in one half of the band.

    places: (p, 3) frequency (x, y, z) in steps of half a cycle per field of view, z ≥ 0, without mirror images.
    products: (p, 2, groups), real and imaginary part of the sum of CTF · F, less what the consensus predicts for it.
    weights: (p, groups), the sum of CTF².
    power: (3, cycles + 1), in each shell of an image the sums over images of |CTF · F|², CTF² and CTF⁴.
    """

    places: Tensor
    products: Float[Tensor, "p 2 groups"]
    weights: Float[Tensor, "p groups"]
    power: Float[Tensor, "3 shells"]

    def noise(self, signal: Float[Tensor, " shells"]) -> Float[Tensor, " shells"]:
        """Power of the noise in each shell of an image, where the density's spectrum has this power.

        |CTF · F|² adds up to the noise times CTF² and the signal times CTF⁴. What is left for the noise is at least a
        hundredth: images without any are weighed as their power.
        """
        products, squares, fourths = self.power
        whole = products / squares.clamp_min(1e-30)
        left = whole - signal.double() * fourths / squares.clamp_min(1e-30)
        noise: Tensor = torch.maximum(left, _LEAST_NOISE * whole).clamp_min(1e-30).float()
        return noise

    @property
    def radii(self) -> Float[Tensor, " p"]:
        """Distance of each place from the origin, in cycles per field of view."""
        radii: Tensor = self.places.float().norm(dim=-1) / PADDING
        return radii


@dataclass(frozen=True)
class Group:
    """Which images belong together: the number of groups, and each image's (of all images of the run)."""

    count: int
    of_image: NDArray[np.int64]


def add_up(
    maker: SliceMaker, rows: NDArray[np.int64], groups: Group, band: Band, work: tuple[torch.device, Progress, World]
) -> StateSums:
    """Sums of the slices of these rows, for each group; images are read once. The processes of a job share them."""
    device, progress, world = work
    sums = SliceSums.empty(band.box, device, sets=groups.count)
    power = torch.zeros(3, band.cycles + 2, dtype=torch.float64, device=device)
    shells = _shells_of_slice(band, device)
    rotations = torch.as_tensor(maker.stacks.table.rotations, dtype=torch.float32)
    group_of = torch.from_numpy(groups.of_image)
    batches = list(maker.batches(rows))
    batches = batches[world.piece(len(batches))]

    def cropped(some: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor, Tensor]:
        products, weights = (inside(part, band.box) for part in maker.slices(some, device))
        return some, products, weights

    with progress.track(sum(map(len, batches)), "adding images to the decoder's groups") as advance:
        for some, products, weights in one_by_one(cropped, batches):
            sums.add(products, weights, rotations[some], group_of[some])
            seen = (
                torch.stack([part.sum(0) for part in (products.abs().square(), weights, weights.square())])
                .double()
                .flatten(1)
            )
            power.index_add_(1, shells, seen)
            advance(len(some))
    for part in sums.sums:
        part.copy_(world.sum(part))
    return condensed(sums, band, world.sum(power)[:, :-1])


def inside(spectra: Tensor, box: int) -> Tensor:
    """The lowest frequencies of half-spectra (n, side, half): those of an image of an odd number `box` of pixels."""
    half = box // 2
    columns = spectra[..., : half + 1]
    return torch.cat([columns[..., : half + 1, :], columns[..., spectra.shape[-2] - half :, :]], dim=-2).contiguous()


def _shells_of_slice(band: Band, device: torch.device) -> Tensor:
    """Shell of each point of a slice, in cycles; cycles + 1 for what lies beyond the band."""
    radii = fourier.radial_frequencies(band.box, 1 / band.box, device)
    return (radii + 0.5).long().clamp_max(band.cycles + 1).flatten()


def condensed(sums: SliceSums, band: Band, power: Float[Tensor, "3 shells"]) -> StateSums:
    """The places inside the band, each once, with what the images have there beside their common density.

    The common density of these images at a place is the weighted mean over all groups: the images' consensus, with
    next to nothing added to the weights, as in a half-map.
    """
    places, values = [], []
    axis = torch.arange(-sums.box, sums.box + 1, device=sums.sums.device)
    for z in range(sums.box + 1):
        plane = sums.sums[:, z]
        y, x = axis[:, None], axis[None, :]
        kept = (x.square() + y.square() + z * z) <= (PADDING * band.cycles) ** 2
        if z == 0:
            plane = plane + plane.flip(1, 2) * plane.new_tensor([1.0, -1.0, 1.0])
            kept = kept & ((y > 0) | ((y == 0) & (x >= 0)))
        at = kept.nonzero()
        places.append(torch.stack([axis[at[:, 1]], axis[at[:, 0]], torch.full_like(at[:, 0], z)], dim=-1))
        values.append(plane[:, kept].permute(1, 2, 0))  # (p, 3, groups)
    where, found = torch.cat(places), torch.cat(values)
    products, weights = found[:, :2], found[:, 2]
    shell = (where.float().norm(dim=-1) / PADDING + 0.5).long()
    total = weights.sum(-1)
    mean = total.new_zeros(int(shell.max()) + 1).index_add_(0, shell, total)
    mean = mean / torch.bincount(shell, minlength=len(mean)).clamp_min(1)
    common = products.sum(-1) / (total + LIGHT * mean[shell]).clamp_min(1e-30)[:, None]
    return StateSums(where, products - common[..., None] * weights[:, None], weights, power)
