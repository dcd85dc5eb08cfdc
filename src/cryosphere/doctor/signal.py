"""How much of the model an image shows, detail by detail, and how many images it takes to see that detail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.doctor.comparing import Examiner
from cryosphere.doctor.readings import Reading
from cryosphere.doctor.sample import shells

SEEN = 1 / 3  # signal over noise in a map whose halves correlate by 0.143


@dataclass(frozen=True)
class Signal:
    """What a sample of images says of the signal in them, shell by shell of spatial frequency."""

    frequencies: NDArray[np.float64]  # (shells,), 1/Å
    correlation: NDArray[np.float64]  # (shells,), of images with the model's projections
    error: NDArray[np.float64]  # (shells,), what it would be by chance
    snr: NDArray[np.float64]  # (shells,), power of the signal over that of the noise in an image; 0 where none is seen
    images_needed: NDArray[np.float64]  # (shells,), for a map to show it (FSC 0.143); infinite where none is seen

    def finest(self) -> float | None:
        """Å: the finest detail down to which each shell shows the model; None if not even the coarsest does."""
        seen = self.correlation > 3 * self.error
        count = len(seen) if seen.all() else int(np.argmin(seen))
        return None if count == 0 else float(1 / self.frequencies[count - 1])


def signal(examiner: Examiner, reading: Reading, sign: float) -> Signal:
    """The signal under a reading; `sign` is 1 where protein is bright in the stack and -1 where it is dark.

    In a shell where images and projections correlate by c, signal over noise is c² / (1 - c²), if the model is right:
    where it is not, there is more signal than is said here. A map of N images holds N / 2k slices at k cycles per box.
    """
    sample, predicted = examiner.sample, examiner.predicted(reading)
    box = sample.grid.box
    radius, count = shells(box)
    index = radius.clamp_max(count).flatten()
    cross, observed, model, size = (
        _in_shells(values, sample.weights, index, count)
        for values in (
            (sample.spectra * predicted.conj()).real.mean(0),
            torch.view_as_real(sample.spectra).square().sum(-1).mean(0),
            torch.view_as_real(predicted).square().sum(-1).mean(0),
            torch.ones_like(sample.weights),
        )
    )
    inner = slice(1, count)
    correlation = sign * (cross / (observed * model).clamp_min(1e-30).sqrt())[inner].numpy()
    error = 1 / (np.maximum(size[inner].numpy() / 2, 1) * len(sample)) ** 0.5
    seen = np.where(correlation > 2 * error, np.clip(correlation, 0, 0.9999), 0.0)
    snr = seen**2 / (1 - seen**2)
    cycles = np.arange(1, count)
    needed = np.where(snr > 0, SEEN * 2 * cycles / np.maximum(snr, 1e-30), np.inf)
    return Signal(cycles / sample.grid.length, correlation, error, snr, np.maximum(needed, 1.0))


def _in_shells(values: Tensor, weights: Tensor, index: Tensor, count: int) -> Tensor:
    sums = torch.zeros(count + 1, dtype=torch.float64)
    return sums.index_add_(0, index, (values * weights).flatten().double())
