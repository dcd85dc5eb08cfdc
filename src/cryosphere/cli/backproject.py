"""`cryosphere backproject`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryosphere.cli.options import Files, Flag


def backproject(
    *,
    particles: Files,
    outdir: Path,
    datadir: Path | None = None,
    box: int | None = None,
    images: int | None = None,
    contrast: Literal["auto", "white", "black"] = "auto",
    diameter: float | None = None,
    mask: Path | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    overwrite: Flag = False,
) -> None:
    """Reconstruct the consensus map that particles with poses show, and its resolution.

    Writes map.mrc, half1.mrc, half2.mrc and fsc.csv to the folder, with the pictures fsc.png and slices.png. The map's
    centre is the origin of the poses, where the model's origin belongs.

    Args:
        particles: RELION .star or cryoSPARC .cs with poses; several .cs files of the same particles may be given.
        outdir: Folder for the maps.
        datadir: Folder in which to look for the image stacks first.
        box: Voxels of the map's side: the images are cropped to it in Fourier space. Default: as the images.
        images: Use so many images, drawn at random; a few thousand show whether anything is wrong. Default: all.
        contrast: Whether protein is bright (white) or dark (black) in the images; auto decides by the map.
        diameter: Of the particle, in Å; what lies outside is background. Default: three quarters of the images' width.
        mask: A map from 0 to 1, on the grid of the result, for the masked correlation. Default: made from the map.
        seed: Of the images drawn, of the halves where the file has no rlnRandomSubset, and of random phases.
        device: Where to compute; auto takes a GPU if there is one.
        overwrite: Replace the files where they already exist.
    """
    from cryosphere.cli.progress import terminal_progress
    from cryosphere.maps.backproject import BackprojectionSettings
    from cryosphere.maps.backproject import backproject as run_backprojection
    from cryosphere.maps.reconstruction import ReconstructionSettings

    how = ReconstructionSettings(box=box, contrast=contrast, diameter=diameter, seed=seed, device=device)
    settings = BackprojectionSettings(datadir=datadir, images=images, mask=mask, reconstruction=how)
    run_backprojection(particles, outdir, settings, progress=terminal_progress(), overwrite=overwrite)
