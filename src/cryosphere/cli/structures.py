"""`cryosphere structures`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def structures(
    run: Path,
    /,
    *,
    output: Path,
    indices: str | None = None,
    z: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Write the structure of every image, or of chosen ones.

    Args:
        run: The run directory that `cryosphere train` made.
        output: A folder, for one all-atom mmCIF file each, or a file name ending in .npz, for residue coordinates
            (n, residues, 3) in Å with chain and residue arrays, in the input model's frame and order.
        indices: Which images, from 0, as first:last:step or a list (0:1000:10, or 3,14,15); default: all.
        z: Latents instead of images: a .npy file (n, latent dimensions).
        device: Where to compute; auto takes a GPU if there is one.
    """
    from cryosphere.analysis.run import Run
    from cryosphere.analysis.structures import export_structures
    from cryosphere.cli.progress import terminal_progress

    progress = terminal_progress()
    export_structures(Run(run, device=device, progress=progress), output, indices=indices, z=z, progress=progress)
