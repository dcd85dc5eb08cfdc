"""The particle table: what is known of every particle besides its image, in our conventions and units."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Integer = NDArray[np.int64]


@dataclass(frozen=True)
class OpticsGroup:
    """Settings shared by the particles of one optics group."""

    name: str
    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    pixel_size: float  # Å, of the particle images in the stack
    box: int | None  # pixels of the images' side; None where the file does not say (then the stack's header decides)


@dataclass(frozen=True)
class ParticleTable:
    """n particles in the order of the input file.

    A particle's point r (Å, molecule's frame) is seen at (rotation r)_xy - shift, in Å from the image's centre pixel
    box // 2; the projection runs along z. Angles are in radians, defocus in Å (underfocus positive).
    """

    rotations: Float  # (n, 3, 3)
    shifts: Float  # (n, 2), Å, (x, y): RELION's rlnOriginX/YAngst
    defocus_u: Float  # (n,), Å
    defocus_v: Float  # (n,), Å
    defocus_angle: Float  # (n,), radians, from the x axis towards y
    phase_shift: Float  # (n,), radians; 0 where the file has none
    b_factor: Float  # (n,), Å²; 0 where the file has none
    ctf_scale: Float  # (n,); 1 where the file has none
    optics_index: Integer  # (n,), into `optics`
    stack_index: Integer  # (n,), into `stacks`
    image_index: Integer  # (n,), 0-based position inside the stack
    half_set: Integer  # (n,), 1 or 2 (rlnRandomSubset); 0 where the file has none
    optics: tuple[OpticsGroup, ...]
    stacks: tuple[str, ...]  # stack paths as the file writes them, without the `>` of cryoSPARC
    source: Path  # the file (the first one, where several were given) for error messages

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, rows: slice | Integer | NDArray[np.bool_]) -> ParticleTable:
        """The particles of the given rows, in that order; optics groups and stack names are kept whole."""
        per_particle = {f.name: getattr(self, f.name)[rows] for f in fields(self) if _is_per_particle(f.name)}
        return replace(self, **per_particle)

    @property
    def pixel_size(self) -> float:
        """Å per pixel of the images; equal in all optics groups (the readers refuse anything else)."""
        return self.optics[0].pixel_size

    def optics_column(self, name: str) -> Float:
        """One numeric property of the optics groups, e.g. "voltage_kv", spread over the particles: (n,)."""
        return np.array([getattr(group, name) for group in self.optics], dtype=np.float64)[self.optics_index]


def _is_per_particle(name: str) -> bool:
    return name not in ("optics", "stacks", "source")
