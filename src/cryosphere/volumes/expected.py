"""What a map would show of a structure: its density through the filter that the map's own shells tell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import bead_volumes
from cryosphere.volumes.state import StateVolume

Float = NDArray[np.float64]
Volume = NDArray[np.float32]

_ENVELOPE = 5.0  # Å: standard deviation of the beads that say where the structure is, at least 1.5 voxels
_LEVEL = 0.05  # of the density that nine tenths of the structure's voxels do not reach
_EDGE = 3.0  # voxels of the envelope's soft edge
_WIDER = 3.0  # Å: how much wider than the resolution the window of the local correlation is
_HALF_HEIGHT = 2.3548  # standard deviations between the two sides of a Gaussian at half its height
_SIGNIFICANT = 3.0  # standard errors of a gain
_LOWEST = 2  # shells below this one, of which defocus transmits next to nothing, tell nothing


@dataclass(frozen=True)
class Shells:
    """The spatial frequencies of a cubic box, in shells of one cycle per box; those beyond Nyquist belong to none."""

    grid: ImageGrid

    @property
    def count(self) -> int:
        return (self.grid.box - 1) // 2 + 1

    @cached_property
    def frequencies(self) -> Float:
        """(count,) 1/Å."""
        return np.arange(self.count) / self.grid.length

    @cached_property
    def index(self) -> NDArray[np.int32]:
        """Shell of each coefficient of a half-spectrum, (box, box, box // 2 + 1); `count` where it belongs to none."""
        box = self.grid.box
        steps = (np.arange(box, dtype=np.float32) + box // 2) % box - box // 2
        z, y, x = np.meshgrid(steps, steps, np.arange(box // 2 + 1, dtype=np.float32), indexing="ij", sparse=True)
        radius = np.sqrt(z * z + y * y + x * x)
        return np.asarray(np.minimum((radius + 0.5).astype(np.int32), self.count))

    @cached_property
    def coefficients(self) -> Float:
        """(count,): coefficients of the whole spectrum in each shell."""
        return self.sum(np.ones(self.index.shape, dtype=np.float32))

    def sum(self, values: NDArray[np.floating]) -> Float:
        """(count,): sums over shells of what is given for a half-spectrum; each column but the first stands for two."""
        doubled = np.full(values.shape[-1], 2.0, dtype=np.float32)
        doubled[0] = 1.0
        sums = np.bincount(self.index.ravel(), (values * doubled).ravel(), self.count + 1)
        return np.asarray(sums[: self.count], dtype=np.float64)

    def filtered(self, spectrum: NDArray[np.complexfloating], factor: Float) -> Volume:
        """The volume of a half-spectrum whose shells are multiplied by `factor`, (count,)."""
        factors = np.append(factor, 0.0).astype(np.float32)[self.index]
        return np.asarray(fft.irfftn(spectrum * factors, s=(self.grid.box,) * 3, norm="ortho"), dtype=np.float32)


def spectrum_of(volume: NDArray[np.floating]) -> NDArray[np.complex64]:
    """Half-spectrum of a real volume, orthonormal: white noise of variance v has the power v in each coefficient."""
    return np.asarray(fft.rfftn(np.asarray(volume, dtype=np.float32), norm="ortho"), dtype=np.complex64)


def values_at(volume: Volume, places: Float, grid: ImageGrid, order: Literal[1, 5]) -> Float:
    """A volume's values (n,) at `places` (n, 3) in Å from its centre, by splines; it repeats beyond the box.

    Order 5 is 1 % off at frequencies of beads whose standard deviation is two thirds of a voxel.
    """
    voxels = places[:, ::-1].T / grid.pixel_size + grid.box // 2
    found = map_coordinates(volume, voxels, np.float64, order, mode="grid-wrap")
    return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True)
class Residues:
    """The residues of one conformation as beads: places (R, 3) in Å, electrons (R,), and the beads' width in Å.

    spread (K, R, 3): where they are in some of the images that a map of the conformation was made of, each counting
    the same. A map shows the mean of these, blurred where they differ; None: they are all at `places`.
    """

    places: Float
    electrons: Float
    sigma: float

    spread: Float | None = None

    @property
    def samples(self) -> Float:
        """(K, R, 3): the structures whose mean density a map shows."""
        return self.places[None] if self.spread is None else self.spread

    def density(self, grid: ImageGrid, amplitudes: Float | None = None) -> Volume:
        """Their mean density; `amplitudes` (R,) say how much of each is there."""
        weights = self.electrons if amplitudes is None else self.electrons * amplitudes
        amplitude = torch.from_numpy(np.asarray(weights / len(self.samples), dtype=np.float32))
        total = np.zeros((grid.box,) * 3, dtype=np.float32)
        for one in self.samples:
            places = torch.from_numpy(np.asarray(one, dtype=np.float32))
            total += bead_volumes(places[None], amplitude, grid, self.sigma)[0].numpy()
        return total

    def mean_of(self, volume: Volume, grid: ImageGrid) -> Float:
        """(R,): a volume at each residue, in the mean over its places."""
        found = values_at(volume, self.samples.reshape(-1, 3), grid, order=5)
        return np.asarray(found.reshape(len(self.samples), -1).mean(axis=0))

    def envelope(self, grid: ImageGrid) -> Volume:
        """1 where the structure is, 0 away from it, with a soft edge."""
        width = max(_ENVELOPE, 1.5 * grid.pixel_size)
        wide = replace(self, electrons=np.ones(len(self.places)), sigma=width).density(grid)
        inside = wide > _LEVEL * np.percentile(wide[wide > 0.05 * wide.max()], 90)
        beyond = distance_transform_edt(~inside) / _EDGE
        return np.asarray(0.5 * (1 + np.cos(np.pi * np.clip(beyond, 0.0, 1.0))), dtype=np.float32)


@dataclass(frozen=True)
class Shown:
    """What is shown of a state: its structure's density and the map's, and map less structure in units of the noise."""

    structure: Volume
    seen: Volume
    difference: Volume


class SeenMap:
    """One state's density as measured, and how its shells pass what is in a structure.

    The map is the mean of the half-maps, which no filter has touched; its noise half their difference. The gain of a
    shell is the regression of the map on the structure, both where the structure is: g = Σ Re(D M*) / Σ |M|². It
    holds the images' scale, what motion within the state has blurred, and what the structure's errors take away. What
    is left, D - g M, has the power of the noise and of what the structure does not explain (its misfit); both count
    as uncertainty of the map, shell by shell, where the structure is.
    """

    def __init__(self, state: StateVolume, residues: Residues, shells: Shells) -> None:
        self.shells, self.residues = shells, residues
        self.volume = 0.5 * (state.half1 + state.half2)
        self.noise = 0.5 * (state.half1 - state.half2)
        self.spectrum = spectrum_of(self.volume)
        self._envelope = residues.envelope(state.grid)
        self.noise_power = self._power_inside(self.noise)
        self.gain = np.zeros(shells.count)
        self.misfit_power = np.zeros(shells.count)
        self.model = np.zeros_like(self.spectrum)  # of the residues, times their amplitudes, unfiltered
        self.amplitudes = np.ones(len(residues.places))
        self.compare(np.ones(len(residues.places)))

    def compare(self, amplitudes: Float) -> None:
        """Find gain and misfit again for these amplitudes, (R,), of the residues.

        A gain that is not three times its own error is none: the structure is not seen at these frequencies.
        """
        self.amplitudes = amplitudes
        model = self.residues.density(self.shells.grid, amplitudes)
        inside, seen = spectrum_of(model * self._envelope), spectrum_of(self.volume * self._envelope)
        power = np.maximum(self.shells.sum(np.abs(inside) ** 2), np.finfo(np.float32).tiny)
        gain = self.shells.sum((seen * inside.conj()).real) / power
        self.model = spectrum_of(model)
        left = self._power_inside(self.volume - self.shells.filtered(self.model, gain))
        self.gain = np.where(gain > _SIGNIFICANT * np.sqrt(self.noise_power / power), gain, 0.0)
        self.gain[:_LOWEST] = 0.0
        self.misfit_power = np.maximum(left - self.noise_power, 0.0)

    def information(self, states: float = 1.0) -> Float:
        """(count,): g² over the variance of the map, whose noise as many independent `states` average away."""
        least = 1e-6 * float(self.noise_power.max()) + np.finfo(np.float32).tiny
        return np.asarray(self.gain**2 / np.maximum(self.noise_power / states + self.misfit_power, least))

    def shown(self) -> Shown:
        """Structure and map through one filter, and their difference in standard deviations of the noise there."""
        weight = self._weight()
        structure = self.shells.filtered(spectrum_of(self.residues.density(self.shells.grid)), self.gain * weight)
        seen = self.shells.filtered(self.spectrum, weight)
        noise = self.shells.filtered(spectrum_of(self.noise), weight)
        variance = np.average(np.square(noise, dtype=np.float64), weights=self._envelope)
        return Shown(structure, seen, (seen - structure) / np.float32(np.sqrt(variance) or 1.0))

    def local_correlation(self, resolution: float) -> Float:
        """(R,): correlation of structure and map around each residue, both through one filter, from -1 to 1.

        Under a Gaussian window whose width at half its height is the resolution and 3 Å.
        """
        shown, voxel = self.shown(), self.shells.grid.pixel_size
        finest = 2 * voxel
        width = (max(resolution, finest) if np.isfinite(resolution) else 4 * finest) + _WIDER

        def mean(values: Volume) -> Float:
            smooth = np.asarray(gaussian_filter(values, width / _HALF_HEIGHT / voxel, mode="wrap"), dtype=np.float32)
            return values_at(smooth, self.residues.places, self.shells.grid, order=1)

        one, other = shown.structure, shown.seen
        first, second = mean(one), mean(other)
        between = mean(one * other) - first * second
        spread = (mean(one * one) - first**2) * (mean(other * other) - second**2)
        least = np.finfo(np.float32).tiny
        return np.where(spread > least, between / np.sqrt(np.maximum(spread, least)), 0.0)

    def _weight(self) -> Float:
        """(count,), 0 to 1: share of signal in the map's power, shell by shell."""
        signal = self.shells.sum(np.abs(self.spectrum) ** 2) / np.maximum(self.shells.coefficients, 1)
        noise = self.shells.sum(np.abs(spectrum_of(self.noise)) ** 2) / np.maximum(self.shells.coefficients, 1)
        share = np.clip(1 - noise / np.maximum(signal, np.finfo(np.float32).tiny), 0.0, 1.0)
        return np.where(self.gain > 0, share, 0.0)

    def _power_inside(self, volume: Volume) -> Float:
        """Power per coefficient where the structure is."""
        inside = self.shells.sum(np.abs(spectrum_of(volume * self._envelope)) ** 2)
        occupied = float(np.square(self._envelope, dtype=np.float64).mean())
        return np.asarray(inside / np.maximum(self.shells.coefficients, 1) / max(occupied, 1e-12))
