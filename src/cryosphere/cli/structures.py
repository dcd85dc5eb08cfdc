"""`cryosphere structures`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryosphere.cli.options import Flag


def structures(
    run: Path,
    /,
    *,
    output: Path,
    indices: str | None = None,
    z: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    overwrite: Flag = False,
) -> None:
    """Write the structure of every image, or of chosen ones.

    Args:
        run: The run directory that `cryosphere train` made.
        output: A folder, for one all-atom mmCIF file each, whose B-factor column holds the standard deviation of each
            residue's place in Å, or a file name ending in .npz, for residue coordinates (n, residues, 3) and their sd
            (n, residues) in Å with chain and residue arrays, in the input model's frame and order.
        indices: Which images, from 0: start:stop:step (stop not included), a list, or all; 0:1000:10 or 3,14,15.
        z: Latents instead of images: a .npy file (n, latent dimensions).
        device: Where to compute; auto takes a GPU if there is one.
        overwrite: Replace the file, or the structures that already lie in the folder: they are removed first.
    """
    from cryosphere.analysis.run import Run
    from cryosphere.analysis.structures import export_structures
    from cryosphere.cli.progress import terminal_progress

    progress = terminal_progress()
    opened = Run(run, device=device, progress=progress)
    export_structures(opened, output, indices=indices, z=z, progress=progress, overwrite=overwrite)
