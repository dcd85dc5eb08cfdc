"""The pixel grid of an image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageGrid:
    """A square image of `box` pixels of `pixel_size` Å; its physical centre is pixel box // 2."""

    box: int
    pixel_size: float

    @property
    def length(self) -> float:
        """Side of the image in Å."""
        return self.box * self.pixel_size
