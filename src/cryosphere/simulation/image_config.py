"""What a simulation is told about its images: number, size, noise, microscope, transfer function, errors of poses."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from cryosphere.settings import Section

Range = tuple[float, float]


class ImageSettings(Section):
    """How many images of what size and quality."""

    count: int = Field(default=10_000, ge=1)
    box: int = Field(default=64, ge=8, le=4096, description="pixels")
    pixel_size: float = Field(default=3.0, gt=0, description="Å")
    snr: float = Field(default=0.1, gt=0, description="variance of the noiseless images over that of the noise")
    shift: float = Field(default=10.0, ge=0, description="Å; x and y uniform within ± this")
    contrast: Literal["white", "black"] = "white"
    bead_sigma: float = Field(default=2.0, gt=0, le=20, description="Å, of every bead or atom")
    density: Literal["beads", "atoms"] = Field(default="beads", description="what the images are made of")


class OpticsSettings(Section):
    """The microscope, or one of several."""

    voltage_kv: float = Field(default=300.0, gt=0)
    spherical_aberration_mm: float = Field(default=2.7, ge=0)
    amplitude_contrast: float = Field(default=0.07, ge=0, le=1)
    share: float = Field(default=1.0, gt=0, description="of the images, relative to the other optics groups")


def as_groups(value: Any) -> Any:
    """One microscope as a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


class FixedCtf(Section):
    """One defocus for all images; the default is the paper's table 1."""

    kind: Literal["fixed"]
    defocus_u: float = Field(default=15301.1, description="Å, underfocus positive")
    defocus_v: float = Field(default=14916.4, description="Å")
    angle_degrees: float = 5.28
    b_factor: float = Field(default=0.0, ge=0, description="Å²; the images' spectra fall by exp(-B s²/4)")


class DistributedCtf(Section):
    """Defocus and astigmatism differ between images, uniformly; the astigmatism's direction is uniform too."""

    kind: Literal["distribution"]
    defocus: Range = Field(default=(10_000.0, 25_000.0), description="Å, mean of the principal defoci: from, to")
    astigmatism: Range = Field(default=(0.0, 500.0), description="Å, their difference: from, to")
    b_factor: float = Field(default=0.0, ge=0, description="Å²; the images' spectra fall by exp(-B s²/4)")

    @model_validator(mode="after")
    def _ranges_in_order(self) -> DistributedCtf:
        for name in ("defocus", "astigmatism"):
            low, high = getattr(self, name)
            if high < low:
                raise ValueError(f"{name} must be given as from, to with from ≤ to")
        return self


class PoseErrors(Section):
    """By how much the poses in the STAR file miss the true ones."""

    rotation_degrees: float = Field(
        default=0.0, ge=0, le=180, description="standard deviation of the angle by which a pose is turned"
    )
    shift_angstrom: float = Field(default=0.0, ge=0, description="standard deviation of each coordinate's error")
