"""A density map as it stands in space, and whether it is one that a model can be placed in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, rfftn
from scipy.stats import kurtosis, skew

from cryosphere.errors import MapError
from cryosphere.imaging.grid import ImageGrid

_SCALES = (3, 4, 8, 16)  # cycles per box up to which a map is looked at for density
_CERTAIN = 5.0  # standard deviations that noise would have to be off
_TWO_LEVELS = -1.0  # excess kurtosis: 0 of Gaussian noise, -1.2 of values spread evenly, -2 of two levels


@dataclass(frozen=True)
class DensityMap:
    """Density on a grid of cubic voxels, and where that grid lies in the model's frame."""

    values: NDArray[np.float32]  # [z, y, x]
    pixel_size: float  # Å
    origin: NDArray[np.float64]  # (x, y, z) in Å of the first voxel's centre
    source: str = "the map"  # for messages

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (x, y, z)."""
        z, y, x = self.values.shape
        return x, y, z

    @property
    def centre(self) -> NDArray[np.float64]:
        """Place (x, y, z) in Å of the box's physical centre, voxel D // 2."""
        return self.origin + np.array([side // 2 for side in self.shape]) * self.pixel_size

    @property
    def grid(self) -> ImageGrid:
        """Box and pixel size of a cubic map.

        Raises:
            MapError: for a map that is no cube.
        """
        require_cubic(self)
        return ImageGrid(self.shape[0], self.pixel_size)

    def mirrored(self) -> DensityMap:
        """The map of the other hand: its planes along z in reverse order, on the same grid."""
        return replace(self, values=np.ascontiguousarray(self.values[::-1]))


def require_cubic(density_map: DensityMap) -> None:
    """Make sure that a map has as many voxels along each axis.

    Raises:
        MapError: if not.
    """
    x, y, z = density_map.shape
    if not x == y == z:
        raise MapError(
            f"{density_map.source}: has {x} x {y} x {z} voxels, where a cube is needed. Give the whole box of the "
            "reconstruction, or pad the map to a cube."
        )


def require_density(density_map: DensityMap) -> None:
    """Make sure that a map shows something: that its values are no symmetric noise, at any of four coarse scales.

    Density fills a small part of the box and rises above the rest, so a low-passed map is skewed to the bright side;
    where it fills half of a tight box, values lie around two levels, and their excess kurtosis nears -2. Of Gaussian
    noise of any colour, masked or not, the skewness is 0, within sqrt(6 / n) for n independent values.

    Raises:
        MapError: for a map without density above noise, or one whose density is dark.
    """
    spectrum, shape = rfftn(density_map.values, workers=-1), density_map.values.shape
    brightness, tails = 0.0, 0.0
    for scale in _SCALES:
        if 2 * scale <= min(density_map.shape):
            smooth, independent = _up_to(spectrum, shape, scale)
            skewness, excess = (float(np.nan_to_num(figure(smooth, axis=None))) for figure in (skew, kurtosis))
            brightness = max(brightness, skewness / np.sqrt(6 / independent), key=abs)
            tails = min(tails, excess)
    if brightness <= -_CERTAIN:
        raise MapError(
            f"{density_map.source}: its density is darker than what surrounds it. Protein must be bright here: "
            "multiply the map by -1."
        )
    if brightness < _CERTAIN and tails > _TWO_LEVELS:
        raise MapError(
            f"{density_map.source}: shows no density above noise at any coarse scale. Is it the right map, and did the "
            "reconstruction succeed?"
        )


def _up_to(
    spectrum: NDArray[np.complexfloating], shape: tuple[int, ...], scale: int
) -> tuple[NDArray[np.float64], float]:
    """What of a volume varies slowly, once to `scale` times over the box, and how many independent values that has.

    spectrum: of the volume of that shape, half of it. The result is sampled at 4 · scale points along each side, which
    hold its third power.
    """
    side = 4 * scale
    reach = [min(scale, (voxels - 1) // 2) for voxels in shape]
    cycles = [np.arange(-reach[0], reach[0] + 1), np.arange(-reach[1], reach[1] + 1), np.arange(reach[2] + 1)]
    found = spectrum[np.ix_(*(cycle % voxels for cycle, voxels in zip(cycles, shape, strict=True)))]
    squared = cycles[0][:, None, None] ** 2 + cycles[1][:, None] ** 2 + cycles[2] ** 2
    found = np.where((squared > 0) & (squared <= scale**2), found, 0)
    power = np.square(np.abs(found).astype(np.float64))
    independent = 2 * power.sum() ** 2 / max(float(np.square(power).sum()), 1e-300)  # half a spectrum stands for two
    few = np.zeros((side, side, side // 2 + 1), dtype=np.complex128)
    few[np.ix_(*(cycle % side for cycle in cycles))] = found
    return np.asarray(irfftn(few, s=(side, side, side))), float(max(independent, 1.0))
