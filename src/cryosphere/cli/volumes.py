"""`cryosphere volumes`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryosphere.cli.options import Flag


def volumes(
    run: Path,
    /,
    *,
    outdir: Path,
    method: Literal["kernel", "decoder"] = "kernel",
    z: Path | None = None,
    points: int = 6,
    clusters: int = 0,
    box: int | None = None,
    bandwidth: float | None = None,
    by_shell: Flag = False,
    epochs: int | None = None,
    diameter: float | None = None,
    datadir: Path | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    overwrite: Flag = False,
) -> None:
    """Show what the images themselves hold at a run's conformations, and whether the model is in it.

    Makes density without the model, from the run's latents and poses. Writes OUT/volume_000.mrc with its half-maps and
    OUT/structures/structure_000.cif, the run's structure in the same frame, and so on; support.csv, how much of each
    residue is in the density; and bias.html, the page to begin with.

    Args:
        run: The run directory that `cryosphere train` made.
        outdir: Folder for the volumes.
        method: kernel: each image weighs by how near its structure is; decoder: a network from latent to density.
        z: Latents to make volumes at, a .npy file (n, latent dimensions). Default: along the main motion.
        points: Volumes along the main motion, from its 5th to its 95th percentile; 0 for none.
        clusters: Volumes at the centres of so many groups of images, after those.
        box: Voxels of the maps' side: the images are cropped to it in Fourier space. Default: as the images.
        bandwidth: Å: images count whose structures are nearer than that (root mean square displacement of residues).
            Default: what predicts the other half-set's images best. For the kernel method.
        by_shell: Choose a bandwidth for each shell of frequencies: sharper where nothing moves, more blurred where
            something does. For the kernel method.
        epochs: Passes over the images. For the decoder method.
        diameter: Of the particle, in Å; what lies outside is background. Default: as the run was trained.
        datadir: Folder in which to look for the image stacks first.
        seed: Of the halves where the particle file has no rlnRandomSubset, of random phases, and of networks.
        device: Where to compute; auto takes a GPU if there is one.
        overwrite: Replace volumes that the folder already holds.
    """
    from cryosphere.analysis.run import Run
    from cryosphere.cli.progress import terminal_progress
    from cryosphere.volumes.kernel import KernelSettings
    from cryosphere.volumes.targets import TargetSettings
    from cryosphere.volumes.volumes import VolumesSettings, make_volumes

    kernel = KernelSettings(box, bandwidth, diameter, datadir, seed, device, by_shell)
    settings = VolumesSettings(method, TargetSettings(z, points, clusters), kernel, epochs)
    progress = terminal_progress()
    make_volumes(Run(run, device=device, progress=progress), outdir, settings, progress=progress, overwrite=overwrite)
