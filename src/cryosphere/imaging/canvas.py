"""The grid that beads are laid on where none comes near the image's border."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryosphere.imaging.grid import ImageGrid


@dataclass(frozen=True)
class Canvas:
    """A grid of `box` pixels over the field of view of `image`, wide enough apart or fine enough for its beads.

    widen: filter on the image's half-spectrum that turns the spreading kernel into the bead's Gaussian, with its scale.
    reach: Å that a bead must keep from the border, so that nothing of it comes back in on the other side.
    """

    image: ImageGrid
    box: int
    widen: Tensor  # (image.box, image.box // 2 + 1)
    reach: float

    @property
    def pixels_per_angstrom(self) -> float:
        """From Å to pixels of this grid."""
        return self.box / self.image.length

    @property
    def centre(self) -> float:
        """Where the image's centre lies, in pixels of this grid."""
        return (self.image.box // 2) * self.box / self.image.box

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which pixels of this grid beads must lie."""
        first = self.reach * self.pixels_per_angstrom
        return first, (self.image.box - 1) * self.box / self.image.box - first

    def transform(
        self, pixels: Float[Tensor, "n beads 2"], amplitudes: Float[Tensor, "n beads"]
    ) -> Complex[Tensor, "n side half"]:
        """Half-spectra (orthonormal) of beads laid on this grid, all rows, only the columns that the image has.

        On a processor; see `cryosphere.imaging.spreading_compiled`.
        """
        from cryosphere.imaging.spreading_compiled import lay

        grids = pixels.new_zeros(len(pixels), self.box, self.box)
        lay(pixels.numpy(), amplitudes.numpy(), grids.numpy())
        columns = torch.fft.rfft(grids, norm="ortho")[..., : self.image.box // 2 + 1]
        spectra: Tensor = torch.fft.fft(columns, dim=-2, norm="ortho").contiguous()
        return spectra

    def transform_back(
        self,
        spectra: Complex[Tensor, "n side half"],
        pixels: Float[Tensor, "n beads 2"],
        amplitudes: Float[Tensor, "n beads"],
    ) -> tuple[Float[Tensor, "n beads 2"], Float[Tensor, "n beads"]]:
        """The adjoint: from spectra whose inverse transform is a gradient by the grids to those by the beads.

        That is, by their pixels and by their amplitudes.
        """
        from cryosphere.imaging.spreading_compiled import read

        rows = torch.fft.ifft(spectra, dim=-2, norm="ortho")
        grids = torch.fft.irfft(rows, n=self.box, norm="ortho").contiguous()
        to_pixels, to_amplitudes = torch.zeros_like(pixels), torch.zeros_like(amplitudes)
        read(pixels.numpy(), amplitudes.numpy(), grids.numpy(), to_pixels.numpy(), to_amplitudes.numpy())
        return to_pixels, to_amplitudes
