"""Density maps out: MRC files that other programs lay over the model they were made of."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryosphere.files import replacing


def write_map(
    path: str | Path, volume: NDArray[np.floating], pixel_size: float, origin: ArrayLike | None = None
) -> None:
    """Write a volume [z, y, x] as a 32-bit MRC map, whole or not at all.

    `pixel_size` in Å. `origin`: place (x, y, z) in Å of the first voxel's centre; by default the one that puts voxel
    box // 2 at the origin of the model's frame, so that map and model coincide.

    Raises:
        ValueError: if the volume has not three axes.
    """
    if volume.ndim != 3:
        raise ValueError(f"a map has three axes, found an array of shape {volume.shape}")
    first = -(np.array(volume.shape[::-1]) // 2) * pixel_size if origin is None else np.asarray(origin, dtype=float)
    with replacing(path) as temporary, mrcfile.new(temporary, overwrite=True) as file:
        file.set_data(np.ascontiguousarray(volume, dtype=np.float32))
        file.set_volume()
        file.voxel_size = pixel_size
        file.header.origin.x, file.header.origin.y, file.header.origin.z = first.tolist()
