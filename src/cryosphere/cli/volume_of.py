"""`cryosphere volume-of`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryosphere.cli.options import Flag


def volume_of(
    *,
    model: Path,
    output: Path,
    pixel_size: float | None = None,
    box: int | None = None,
    like: Path | None = None,
    resolution: float | None = None,
    atoms: Literal["all", "beads"] = "all",
    overwrite: Flag = False,
) -> None:
    """Make a density map of an atomic model.

    The map lies over the model: the model's origin is the centre of the box, unless --like says otherwise.

    Args:
        model: Atomic model, PDB or mmCIF.
        output: Map to write, .mrc.
        pixel_size: Å per voxel.
        box: Voxels along each side.
        like: A map whose pixel size, box and place are taken instead.
        resolution: Å to which the density is blurred; default: 5.8 voxels, or beads as wide as images are compared
            with.
        atoms: All atoms with the electron scattering factors of their elements, or one bead per residue with its
            electrons.
        overwrite: Replace the map where it already exists.
    """
    from cryosphere.maps.volume_of import VolumeSettings
    from cryosphere.maps.volume_of import volume_of as run_volume_of

    settings = VolumeSettings(pixel_size=pixel_size, box=box, like=like, resolution=resolution, atoms=atoms)
    run_volume_of(model, output, settings, overwrite=overwrite)
