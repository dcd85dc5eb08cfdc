"""The pixel grid of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.fft import next_fast_len


@dataclass(frozen=True)
class ImageGrid:
    """A square image of `box` pixels of `pixel_size` Å; its physical centre is pixel box // 2."""

    box: int
    pixel_size: float

    @property
    def length(self) -> float:
        """Side of the image in Å."""
        return self.box * self.pixel_size

    def cropped_to(self, resolution: float) -> ImageGrid:
        """The coarsest grid of the same field of view that holds detail down to `resolution` Å, Nyquist lines apart.

        Never finer than this one.
        """
        box = next_fast_even(2 * math.floor(self.length / resolution) + 2)
        return self if box >= self.box else ImageGrid(box, self.length / box)


def next_fast_even(box: int) -> int:
    """The smallest even size from `box` on whose only prime factors are 2, 3 and 5.

    Measured: an image of 192 pixels is transformed in under half the time of one of 190.
    """
    found = next_fast_len(box, real=True)
    while found % 2:
        found = next_fast_len(found + 1, real=True)
    return int(found)
