"""From sums of Fourier slices to maps: weighted division, transform, correction for the trilinear weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from cryosphere.maps.insertion import PADDING, SliceSums
from cryosphere.workers import on_all_cores

Result = TypeVar("Result")

LIGHT = 1e-3  # of a shell's mean weight: added where nothing is known yet of signal and noise
_LEAST_CORRELATION = 1e-3  # taken for shells whose correlation is below


def mean_weights(sums: SliceSums, half: int | None) -> Float[Tensor, " shells"]:
    """Mean weight in each shell of one cycle per box, of one half or (None) of both; shells 0 to box // 2."""
    shells = sums.box // 2 + 1

    def of_plane(z: int) -> Tensor:
        weights, shell = sums.plane(half, z)[1].double().flatten(), _shell_of_plane(sums, z).flatten()
        both = torch.stack([weights, torch.ones_like(weights)])
        stored = 1.0 if z == 0 else 2.0  # the other half of all frequencies are mirror images
        return stored * both.new_zeros(2, shells + 1).index_add_(1, shell, both)

    total, count = torch.stack(_plane_by_plane(of_plane, sums)).sum(0)[:, :shells]
    means: Tensor = total / count.clamp_min(1)
    return means


def light_regularisation(sums: SliceSums, half: int) -> Float[Tensor, " shells"]:
    """What is added to the weights of a half-map, so that frequencies hardly seen do not become large."""
    return LIGHT * mean_weights(sums, half)


def wiener_regularisation(sums: SliceSums, correlations: Float[Tensor, " shells"]) -> Float[Tensor, " all"]:
    """What is added to the weights of the whole map: in each shell, mean weight over signal-to-noise ratio.

    A shell in which the half-maps correlate by FSC has FSC' = 2 FSC / (1 + FSC) in the map of all images, and the
    ratio of its signal's to its noise's power is FSC' / (1 - FSC'): the Wiener filter of Scheres 2012 (J. Struct.
    Biol. 180, 519) with the spectral ratio of Rosenthal & Henderson 2003 (J. Mol. Biol. 333, 721). RELION takes the
    root of FSC', which filters less.
    """
    means = mean_weights(sums, None)
    known = correlations.to(means).clamp(_LEAST_CORRELATION, 1 - LIGHT)
    whole = torch.nn.functional.pad(2 * known / (1 + known), (0, len(means) - len(known)), value=_LEAST_CORRELATION)
    return means * (1 - whole) / whole


def divided(
    sums: SliceSums, half: int | None, regularisation: Float[Tensor, " shells"]
) -> Float[Tensor, "box box box"]:
    """The map [z, y, x] of one half of the images or (None) of all, its centre at voxel box // 2.

    Sums of spectra are divided by weight plus regularisation, up to the Nyquist frequency; the grid is transformed and
    cut to the box, and divided by the transform of the trilinear weights, sinc² along each axis (Penczek 2010).
    """
    box, fine, device = sums.box, PADDING * sums.box, sums.sums.device
    added = torch.nn.functional.pad(regularisation, (0, 1)).to(sums.sums)
    places = torch.arange(box, device=device) - box // 2  # of the box's voxels in a transform about its centre
    by_plane = torch.empty((box + 1, box, box), dtype=torch.complex64, device=device)

    def transform(z: int) -> None:
        values, weights = sums.plane(half, z)
        shell = _shell_of_plane(sums, z)
        below = weights + added[shell]
        seen = (shell <= box // 2) & (below > 0)
        plane = torch.where(seen, values, 0.0) / torch.where(seen, below, 1.0)
        rows = torch.fft.ifft(torch.fft.ifftshift(plane[:-1, :-1]), dim=1)[:, places % fine]
        by_plane[z] = torch.fft.ifft(rows, dim=0)[places % fine]

    _plane_by_plane(transform, sums)
    volume = torch.fft.irfft(by_plane, n=fine, dim=0)[places % fine]
    gridding = torch.sinc(places / fine).square()
    corrected: Tensor = volume / (gridding[:, None, None] * gridding[:, None] * gridding)
    return corrected


def _plane_by_plane(function: Callable[[int], Result], sums: SliceSums) -> list[Result]:
    """What the function gives for each plane, some planes on each of PyTorch's threads: single ones are small work."""
    planes = range(sums.box + 1)
    pieces = on_all_cores(lambda which: [function(z) for z in planes[which]], len(planes))
    return [result for piece in pieces for result in piece]


def _shell_of_plane(sums: SliceSums, z: int) -> Tensor:
    """Shell of each frequency in a plane (width, width), in cycles per box; box // 2 + 1 for what lies beyond them."""
    squares = torch.arange(-sums.box, sums.box + 1, device=sums.sums.device).square().float()
    radius = (squares[:, None] + (squares + z * z)).sqrt_().mul_(1 / PADDING)
    shells = (radius + 0.5).int()
    return torch.where(radius < sums.box / 2, shells, sums.box // 2 + 1)
