"""A few images beside the projections that they should show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere import fourier
from cryosphere.doctor.comparing import Examiner
from cryosphere.doctor.readings import Reading

COUNT = 6
SMOOTH = 20.0  # Å: finer detail of a single image is noise to the eye


@dataclass(frozen=True)
class Examples:
    """Images and projections, (m, box, box) each, of the same rows, with protein bright; and their frame."""

    rows: NDArray[np.int64]  # (m,), from 0
    images: NDArray[np.float32]
    as_written: NDArray[np.float32]  # the model's projections as the files say
    best: NDArray[np.float32]  # and under the reading that fits best
    pixel_size: float  # Å


def examples(examiner: Examiner, reading: Reading, sign: float) -> Examples:
    """Some images, spread over the sample; `sign` is -1 where protein is dark in the stack."""
    few = examiner.on(COUNT)
    sample, grid = few.sample, few.sample.grid
    smooth = fourier.low_pass(grid.box, grid.pixel_size, max(SMOOTH, 3 * grid.pixel_size))

    def shown(spectra: torch.Tensor, factor: float) -> NDArray[np.float32]:
        images = fourier.from_spectrum(spectra * sample.noise * smooth, grid.box) * factor
        return np.asarray(images.numpy().astype(np.float32))

    return Examples(
        rows=sample.rows,
        images=shown(sample.spectra, sign),
        as_written=shown(few.predicted(Reading()), 1.0),
        best=shown(few.predicted(reading), 1.0),
        pixel_size=grid.pixel_size,
    )
