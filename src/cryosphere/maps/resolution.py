"""Up to which detail two independent half-maps agree, with and without a mask, and what the mask adds to that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.fsc import shell_correlations, shell_frequencies, volume_spectra

Curve = NDArray[np.float64]

THRESHOLDS = (0.143, 0.5)
RANDOMISED_BELOW = 0.8  # unmasked correlation from where on phases are drawn at random
_UNAFFECTED_SHELLS = 2  # beyond that, which masking mixes with those that keep their phases


@dataclass(frozen=True)
class HalfMapCurves:
    """Fourier shell correlations of two half-maps, (shells,) each.

    frequencies: 1/Å. unmasked: of the half-maps as they are; masked: both times the mask; phase_randomised: masked,
    after phases beyond `randomised_from` (1/Å; None: nowhere) were drawn at random in both; corrected: masked, less
    what the mask alone brings.
    """

    frequencies: Curve
    unmasked: Curve
    masked: Curve
    phase_randomised: Curve
    corrected: Curve
    randomised_from: float | None


@dataclass(frozen=True)
class Resolution:
    """The detail in Å at which a curve falls below a threshold.

    kind: "crossed"; "at Nyquist", where the curve never falls below it and `angstrom` is that of its last shell; or
    "none", where it is never above it.
    """

    threshold: float
    angstrom: float
    kind: Literal["crossed", "at Nyquist", "none"]

    def __str__(self) -> str:
        if self.kind == "none":
            return f"none (the correlation is nowhere above {self.threshold:g})"
        if self.kind == "at Nyquist":
            return f"{self.angstrom:.2f} Å or better (at Nyquist: it does not fall below {self.threshold:g})"
        return f"{self.angstrom:.2f} Å"


def half_map_curves(
    first: Float[Tensor, "box box box"],
    second: Float[Tensor, "box box box"],
    mask: Float[Tensor, "box box box"],
    grid: ImageGrid,
    generator: torch.Generator,
) -> HalfMapCurves:
    """Correlate two half-maps shell by shell, and take off what the mask contributes.

    A mask multiplies both maps with the same shape, and so makes even noise correlate. How much is seen where the
    phases are drawn at random beyond a frequency: FSC = (FSC_masked - FSC_random) / (1 - FSC_random) from two shells
    beyond it on (Chen et al. 2013, Ultramicroscopy 135, 24).
    """
    unmasked, masked = _correlation(first, second), _correlation(first * mask, second * mask)
    below = torch.nonzero(unmasked[1:] < RANDOMISED_BELOW)
    frequencies = shell_frequencies(len(unmasked), grid.box, grid.pixel_size)
    by_chance, corrected, start = masked.clone(), masked.clone(), None
    if len(below):
        shell = 1 + int(below[0])
        start = float(frequencies[shell])
        one, other = (_with_random_phases(half, shell, generator) * mask for half in (first, second))
        by_chance = _correlation(one, other)
        from_here = min(shell + _UNAFFECTED_SHELLS, len(masked))
        chance = by_chance[from_here:].clamp_min(0.0)  # it can only be taken off
        corrected[from_here:] = (masked[from_here:] - chance) / (1 - chance).clamp_min(1e-6)
    return HalfMapCurves(
        frequencies=_as_curve(frequencies),
        unmasked=_as_curve(unmasked),
        masked=_as_curve(masked),
        phase_randomised=_as_curve(by_chance),
        corrected=_as_curve(corrected),
        randomised_from=start,
    )


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    return shell_correlations(volume_spectra(first[None]), volume_spectra(second[None]))[0]


def _as_curve(values: Tensor) -> Curve:
    return np.asarray(values.double().cpu().numpy())


def _with_random_phases(
    volume: Float[Tensor, "box box box"], first_shell: int, generator: torch.Generator
) -> Float[Tensor, "box box box"]:
    """The map with random phases from a shell on, its amplitudes kept."""
    spectrum, box = volume_spectra(volume), len(volume)
    along = torch.fft.fftfreq(box, 1 / box, device=spectrum.device)
    half = torch.arange(box // 2 + 1, device=spectrum.device)
    radius = (along[:, None, None].square() + along[:, None].square() + half.square()).sqrt()
    # phases of a real map's white noise: on the plane of column 0 they are those of mirror images, as they must be
    noise = torch.randn((box, box, box), generator=generator).to(spectrum.device)
    phases = torch.fft.rfftn(noise)
    random = spectrum.abs() * phases / phases.abs().clamp_min(1e-12)
    mixed = torch.where(radius >= first_shell - 0.5, random, spectrum)
    shuffled: Tensor = torch.fft.irfftn(mixed, s=(box, box, box), norm="ortho")
    return shuffled


def resolution_at(curve: Curve, frequencies: Curve, threshold: float) -> Resolution:
    """Where a curve falls below a threshold, linear between shells.

    Seen from the first shell from 1 on at which it is above: the very lowest frequencies, which defocus hardly
    transmits, may not be.
    """
    above = np.flatnonzero(curve[1:] >= threshold)
    if len(above) == 0:
        return Resolution(threshold, math.inf, "none")
    first = 1 + int(above[0])
    below = np.flatnonzero(curve[first:] < threshold)
    if len(below) == 0:
        return Resolution(threshold, float(1 / frequencies[-1]), "at Nyquist")
    k = first + int(below[0])
    share = (curve[k - 1] - threshold) / (curve[k - 1] - curve[k])
    return Resolution(
        threshold, float(1 / (frequencies[k - 1] + share * (frequencies[k] - frequencies[k - 1]))), "crossed"
    )
