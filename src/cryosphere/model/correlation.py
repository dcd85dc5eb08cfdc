"""Correlations of structures with their images, with their gradients, in a few compiled passes: for processors.

The correlation's gradient is written down instead of traced: structures are laid on pixels and transformed; one pass
over the frequencies applies what the microscope does and compares with the observed images; another turns the spectra
into those of the gradient, which come back the same way. `HeterogeneityModel.correlate` says the same in tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.imaging.ctf import contrast_transfer
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model import correlation_compiled as passes
from cryosphere.model.batch import Batch
from cryosphere.model.comparing import Compared


@dataclass(frozen=True)
class Projected:
    """Structures as they lie on the plain canvas."""

    pixels: Tensor  # (n, beads, 2), where the beads are
    amplitudes: Tensor  # (n, beads)
    inside: NDArray[np.bool_]  # (n,) whether all beads of a structure stay away from the border
    spectra: Tensor | None  # (n, box, half) before the transfer function, not widened yet; None unless all are inside


def project(
    positions: Float[Tensor, "n beads columns"],
    amplitudes: Float[Tensor, " beads"],
    batch: Batch,
    projector: SpreadProjector,
) -> Projected:
    """Structures seen as the batch's particles, laid on pixels and, unless one comes near the border, transformed.

    A fourth column beside the positions holds amplitudes that take the place of `amplitudes`.
    """
    plain = projector.plain
    pixels = positions.new_empty(*positions.shape[:2], 2)
    rotations = batch.rotations.contiguous().numpy()
    scale = plain.pixels_per_angstrom
    passes.see(positions.contiguous().numpy(), rotations, scale, plain.centre, pixels.numpy())
    inside = np.empty(len(pixels), dtype=np.bool_)
    passes.stay_between(pixels.numpy(), *plain.bounds, inside)
    own = positions[..., 3] if positions.shape[2] == 4 else amplitudes.expand(pixels.shape[:2])
    each = own.contiguous()
    return Projected(pixels, each, inside, plain.transform(pixels, each) if inside.all() else None)


class CompiledCorrelation:
    """Correlation of images with those that structures would give.

    Where a bead comes near the image's border, `otherwise` is asked in the same way.
    """

    def __init__(
        self,
        projector: SpreadProjector,
        amplitudes: Float[Tensor, " beads"],
        weights: Float[Tensor, "box half"],
        otherwise: Callable[..., Compared],
    ) -> None:
        """`weights` of the frequencies must leave out the Nyquist lines; see `leaves_nyquist_out`."""
        self.projector = projector
        self.amplitudes = amplitudes
        self.otherwise = otherwise
        self.weights = weights.numpy()
        columns = np.arange(1, weights.shape[1] + 1)
        self._ends = np.where(self.weights != 0, columns, 0).max(axis=1)  # of each row: what follows weighs nothing

    def __call__(self, positions: Float[Tensor, "n beads columns"], batch: Batch, *, with_gradient: bool) -> Compared:
        """Correlations and, if asked for, their gradients by the structures, each by that of its own image.

        Structures are positions, or positions and amplitudes; see `cryosphere.model.comparing.Compare`.
        """
        projected = project(positions, self.amplitudes, batch, self.projector)
        if projected.spectra is None:
            return self._in_two(projected.inside, positions, batch, with_gradient=with_gradient)
        gradient = torch.empty_like(positions, memory_format=torch.contiguous_format) if with_gradient else None
        return self._compare(projected, projected.spectra, batch, gradient), gradient

    def _in_two(self, inside: NDArray[np.bool_], positions: Tensor, batch: Batch, *, with_gradient: bool) -> Compared:
        """Images away from the border, and the others."""
        values, gradient = positions.new_empty(len(positions)), None
        if with_gradient:
            gradient = torch.empty_like(positions, memory_format=torch.contiguous_format)
        for which, compare in ((inside, self), (~inside, self.otherwise)):
            rows = torch.from_numpy(np.flatnonzero(which))
            if len(rows):
                values[rows], slopes = compare(positions[rows], batch[rows], with_gradient=with_gradient)
                if gradient is not None and slopes is not None:
                    gradient[rows] = slopes
        return values, gradient

    def _compare(self, projected: Projected, spectra: Tensor, batch: Batch, gradient: Tensor | None) -> Tensor:
        """Correlations; their gradients by the structures are written into `gradient`, if there is one."""
        plain = self.projector.plain
        pixels = projected.pixels
        given, values = self._given(batch), pixels.new_empty(len(pixels), 3).numpy()
        pairs = torch.view_as_real(spectra).numpy()
        passes.correlate(pairs, given, values)
        found = torch.from_numpy(values[:, 0].copy())
        if gradient is None:
            return found
        passes.differentiate(pairs, given, values)
        to_pixels, to_amplitudes = plain.transform_back(spectra, pixels, projected.amplitudes)
        rotations = batch.rotations.contiguous().numpy()
        passes.turn_back(to_pixels.numpy(), rotations, plain.pixels_per_angstrom, gradient.numpy())
        if gradient.shape[2] == 4:
            gradient[..., 3] = to_amplitudes
        return found

    def _given(self, batch: Batch) -> tuple[Any, ...]:
        """What the passes are told: transfer, observed images, weights of the frequencies, and where rows end."""
        transfer = contrast_transfer(batch.ctf, self.projector.grid) * self.projector.plain.widen
        observed = torch.view_as_real(batch.spectra.contiguous())
        return transfer.numpy(), observed.numpy(), self.weights, self._ends


def leaves_nyquist_out(weights: Float[Tensor, "box half"]) -> bool:
    """Whether the Nyquist lines of an even box weigh nothing."""
    box, half = weights.shape
    return box % 2 == 1 or not (weights[box // 2].any() or weights[:, half - 1].any())
