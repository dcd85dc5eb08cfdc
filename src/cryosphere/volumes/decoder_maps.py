"""From the decoder's Fourier coefficients to maps: transformed, added to the half-maps, compared half with half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.maps.fsc import shell_correlations, volume_spectra
from cryosphere.maps.insertion import PADDING
from cryosphere.maps.masks import mask_around_particle
from cryosphere.maps.reconstruction import Reconstruction
from cryosphere.maps.resolution import half_map_curves
from cryosphere.volumes.decoder_network import FourierNetwork
from cryosphere.volumes.decoder_sums import Band
from cryosphere.volumes.decoder_training import between_shells
from cryosphere.volumes.state import StateVolume

_AT_ONCE = 1 << 15  # frequencies
_LEAST_CORRELATION = 1e-3  # taken for shells whose correlation is below


def whole_cycles(band: Band) -> Tensor:
    """The band's frequencies (x, y, z) in whole cycles per field of view, (p, 3), one of each pair of mirror images."""
    axis = torch.arange(-band.cycles, band.cycles + 1)
    z, y, x = torch.meshgrid(axis[band.cycles :], axis, axis, indexing="ij")
    kept = x.square() + y.square() + z.square() <= band.cycles**2
    kept &= (z > 0) | (y > 0) | ((y == 0) & (x >= 0))
    return torch.stack([x[kept], y[kept], z[kept]], dim=-1)


def signal_amplitudes(consensus: Reconstruction, band: Band) -> Float[Tensor, " shells"]:
    """Root of the signal's power in each shell of the band: of what both half-maps have alike."""
    x, y, z = whole_cycles(band).T
    halves = (torch.fft.rfftn(torch.from_numpy(half)) for half in (consensus.half1, consensus.half2))
    turned = x < 0  # the transform holds x from 0; the common power of mirror images is the same
    sign = torch.where(turned, -1, 1)
    one, other = (spectrum[sign * z, sign * y, sign * x] for spectrum in halves)
    shells = (torch.stack([x, y, z]).float().norm(dim=0) + 0.5).long().clamp_max(band.cycles)
    common = torch.zeros(band.cycles + 1).index_add_(0, shells, (one * other.conj()).real)
    return (common / torch.bincount(shells, minlength=len(common))).clamp_min(0.0).sqrt()


@torch.no_grad()
def departures(
    network: FourierNetwork, z: Float[Tensor, "n latent"], amplitudes: Float[Tensor, " shells"], band: Band, box: int
) -> Float[Tensor, "n box box box"]:
    """What the states with these latents have beside their half-map, as the images show it, on a grid of `box`."""
    device = z.device
    places = whole_cycles(band)
    amplitude = between_shells(amplitudes, places.float().norm(dim=-1)).to(device)
    parts = [
        network(some.float().to(device) / band.length, z) * size[:, None, None]
        for some, size in zip(torch.split(places, _AT_ONCE), torch.split(amplitude, _AT_ONCE), strict=True)
    ]
    values = torch.cat(parts)
    return torch.stack([_transformed(places, values[..., k].cpu(), box) for k in range(len(z))])


def _transformed(places: Tensor, values: Float[Tensor, "p 2"], box: int) -> Float[Tensor, "box box box"]:
    """The volume of these coefficients about voxel box // 2, divided by the transform of the trilinear weights."""
    x, y, z = places.T
    coefficients = torch.complex(values[:, 0].contiguous(), values[:, 1].contiguous())
    planes = torch.zeros((int(z.max()) + 1, box, box), dtype=coefficients.dtype)
    planes[z, y % box, x % box] = coefficients
    on = z == 0
    planes[0, -y[on] % box, -x[on] % box] = coefficients[on].conj()
    volume = torch.fft.fftshift(torch.fft.irfft(torch.fft.ifft2(planes), n=box, dim=0))
    gridding = torch.sinc((torch.arange(box) - box // 2) / (PADDING * box)).square()
    divided: Tensor = volume / (gridding[:, None, None] * gridding[:, None] * gridding)
    return divided


@dataclass(frozen=True)
class Halves:
    """Both half-maps of one state."""

    z: NDArray[np.float32]
    one: Float[Tensor, "box box box"]
    other: Float[Tensor, "box box box"]


def state_of(halves: Halves, consensus: Reconstruction, diameter: float, images: int, seed: int) -> StateVolume:
    """The map of a state: the mean of its half-maps, each shell times how much of it is signal; its mask and curves.

    Of a shell in which half-maps correlate by FSC, 2 FSC / (1 + FSC) of their mean's power is signal.
    """
    grid = consensus.grid
    correlations = shell_correlations(volume_spectra(halves.one[None]), volume_spectra(halves.other[None]))[0]
    known = correlations.clamp(_LEAST_CORRELATION, 1.0)
    whole = _filtered(0.5 * (halves.one + halves.other), 2 * known / (1 + known)).numpy()
    noise: NDArray[np.float32] = (0.5 * (halves.one - halves.other)).numpy()
    mask = mask_around_particle(whole, noise, grid, min(diameter, grid.length))
    generator = torch.Generator().manual_seed(seed)
    curves = half_map_curves(halves.one, halves.other, torch.from_numpy(mask.values), grid, generator)
    half1, half2 = halves.one.numpy(), halves.other.numpy()
    return StateVolume(halves.z, whole, half1, half2, grid, mask, curves, float(images), None)


def _filtered(volume: Float[Tensor, "box box box"], factors: Float[Tensor, " shells"]) -> Float[Tensor, "box box box"]:
    """A map, each shell times a factor, linear in between; nothing beyond the last one."""
    box = len(volume)
    along = torch.fft.fftfreq(box, 1 / box)
    half = torch.arange(box // 2 + 1)
    radii = (along[:, None, None].square() + along[:, None].square() + half.square()).sqrt()
    kept = between_shells(factors, radii.flatten()).view(radii.shape) * (radii < len(factors))
    filtered: Tensor = torch.fft.irfftn(torch.fft.rfftn(volume) * kept, s=(box, box, box))
    return filtered
