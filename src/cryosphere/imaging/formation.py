"""From a structure in the molecule's frame to the noiseless image of a particle."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryosphere.fourier import from_spectrum
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import Projector, SpreadProjector


def seen_from(
    positions: Float[Tensor, "beads 3"] | Float[Tensor, "#n beads 3"], rotations: Float[Tensor, "n 3 3"]
) -> Float[Tensor, "n beads 2"]:
    """Where beads appear, in Å from the particle's centre: (A r)_xy, the projection running along z.

    `positions` may be one structure (beads, 3) for all particles or one each (n, beads, 3).
    """
    return torch.matmul(positions, rotations[:, :2, :].mT)


def particle_spectra(
    positions: Float[Tensor, "beads 3"] | Float[Tensor, "#n beads 3"],
    amplitudes: Float[Tensor, " beads"] | Float[Tensor, "#n beads"],
    rotations: Float[Tensor, "n 3 3"],
    projector: Projector,
) -> Complex[Tensor, "n box half"]:
    """Spectra of centred particles before the microscope's transfer function."""
    return projector(seen_from(positions, rotations), amplitudes)


def particle_images(
    positions: Float[Tensor, "beads 3"] | Float[Tensor, "#n beads 3"],
    amplitudes: Float[Tensor, " beads"] | Float[Tensor, "#n beads"],
    rotations: Float[Tensor, "n 3 3"],
    shifts: Float[Tensor, "n 2"],
    ctf: CtfParameters | None,
    projector: Projector | tuple[ImageGrid, float],
) -> Float[Tensor, "n box box"]:
    """Noiseless images of particles as a micrograph would show them.

    A point r is seen at (A r)_xy - shift (Å). `ctf=None` leaves the transfer function out. `projector` may be given
    as (grid, sigma), which stands for the fast projector.
    """
    if isinstance(projector, tuple):
        projector = SpreadProjector(projector[0], projector[1], positions.device, positions.dtype)
    xy = seen_from(positions, rotations) - shifts[:, None, :]
    spectra = projector(xy, amplitudes)
    if ctf is not None:
        spectra = spectra * contrast_transfer(ctf, projector.grid).to(spectra.real.dtype)
    return from_spectrum(spectra, projector.grid.box)
