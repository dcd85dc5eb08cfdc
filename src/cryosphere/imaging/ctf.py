"""The contrast transfer function of the electron microscope."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryosphere.fourier import frequency_components
from cryosphere.imaging.grid import ImageGrid

if TYPE_CHECKING:
    from cryosphere.particles.table import ParticleTable


@dataclass(frozen=True)
class CtfParameters:
    """Per particle, (n,) each: Å for lengths (mm for the spherical aberration), radians for angles, kV for energy."""

    defocus_u: Tensor
    defocus_v: Tensor
    defocus_angle: Tensor
    phase_shift: Tensor
    b_factor: Tensor
    scale: Tensor
    voltage_kv: Tensor
    spherical_aberration_mm: Tensor
    amplitude_contrast: Tensor

    @classmethod
    def from_table(
        cls, table: ParticleTable, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> CtfParameters:
        """The CTF parameters of every particle of a table, each with the settings of its own optics group."""
        columns = {
            "defocus_u": table.defocus_u,
            "defocus_v": table.defocus_v,
            "defocus_angle": table.defocus_angle,
            "phase_shift": table.phase_shift,
            "b_factor": table.b_factor,
            "scale": table.ctf_scale,
            "voltage_kv": table.optics_column("voltage_kv"),
            "spherical_aberration_mm": table.optics_column("spherical_aberration_mm"),
            "amplitude_contrast": table.optics_column("amplitude_contrast"),
        }
        return cls(**{name: torch.as_tensor(values, dtype=dtype, device=device) for name, values in columns.items()})

    def __getitem__(self, rows: Any) -> CtfParameters:
        """The parameters of the given rows (slice, index tensor or mask)."""
        return CtfParameters(*(getattr(self, f.name)[rows] for f in fields(self)))

    def to(self, device: torch.device | str) -> CtfParameters:
        """The same parameters on another device."""
        return CtfParameters(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))

    def __len__(self) -> int:
        return len(self.defocus_u)


def electron_wavelength(voltage_kv: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Relativistic wavelength in Å of electrons accelerated by `voltage_kv` kilovolts (0.0197 Å at 300 kV).

    λ = h / √(2 m e V (1 + e V / 2 m c²)), with CODATA constants folded into 12.2643 and 0.97848·10⁻⁶.
    """
    volts = voltage_kv * 1e3
    return 12.264259661 / torch.sqrt(volts * (1 + 0.978475598e-6 * volts))


def contrast_transfer(parameters: CtfParameters, grid: ImageGrid) -> Float[Tensor, "n box half"]:
    """What the microscope does to each spatial frequency, on the half-spectrum of the grid.

    √(1 - w²) sin χ + w cos χ, times the envelope exp(-B s² / 4) and the scale factor; w the amplitude contrast. It is
    +w at zero frequency (RELION's sign: protein is bright). χ as in docs/conventions.md; Vulović et al. 2013.
    """
    reference = parameters.defocus_u
    squared, difference, product, fourth = _planes(grid, str(reference.device), reference.dtype)
    wavelength = electron_wavelength(parameters.voltage_kv)
    # defocus(θ) s² = mean·s² + half-difference·(cos 2θ₀ (x² - y²) + 2 sin 2θ₀ x y): no arc tangent needed
    mean = 0.5 * (parameters.defocus_u + parameters.defocus_v)
    half = 0.5 * (parameters.defocus_u - parameters.defocus_v)
    scale = math.pi * wavelength
    along = scale * half * torch.cos(2 * parameters.defocus_angle)
    across = 2 * scale * half * torch.sin(2 * parameters.defocus_angle)
    spherical = -0.5e7 * math.pi * parameters.spherical_aberration_mm * wavelength**3
    # amplitude contrast is a constant phase: √(1-w²) sin χ + w cos χ = sin(χ + asin w)
    phase = parameters.phase_shift + torch.asin(parameters.amplitude_contrast)
    chi = torch.addcmul(_spread(phase), _spread(scale * mean), squared)
    for coefficient, plane in ((along, difference), (across, product), (spherical, fourth)):
        chi = torch.addcmul(chi, _spread(coefficient), plane)
    envelope = _spread(parameters.scale) * torch.exp(_spread(-0.25 * parameters.b_factor) * squared)
    return torch.sin(chi) * envelope


@lru_cache(maxsize=8)
def _planes(grid: ImageGrid, device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the spatial frequencies (x, y) of a half-spectrum: x² + y², x² - y², x y, (x² + y²)²."""
    fy, fx = frequency_components(grid.box, grid.pixel_size, device, dtype)
    squared = fx**2 + fy**2
    return squared, fx**2 - fy**2, fx * fy, squared**2


def _spread(values: Tensor) -> Tensor:
    return values[:, None, None]
