"""`cryosphere validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cryosphere.cli.options import Flag


def validate(
    run: Path,
    /,
    *,
    outdir: Path,
    epochs: int | None = None,
    seed: int = 0,
    omit_segment: Flag = False,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Tell whether a run's motions are in the data: two models from independent halves, compared with chance.

    Trains a model on each half of the images from scratch, which takes about as long as the run itself did, and
    compares them on images that neither saw. Writes OUT/verdict.json (reproduced, weak or not supported, for each
    motion), OUT/validation.html to look at, its pictures in OUT/pictures, and OUT/validation.csv. If it is ended, the
    same command goes on with it.

    Args:
        run: The run directory that `cryosphere train` made.
        outdir: Folder for the verdict and the two halves' runs.
        epochs: Passes over the images for each half; by default as many as the run's.
        seed: Of the halves, where the particle file names none (rlnRandomSubset), and of the comparison with chance.
        omit_segment: Train one more model that is not told of the segment that moves most, and look for its density in
            volumes made with that model's latents; takes half as long again.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from cryosphere.cli.progress import terminal_progress
    from cryosphere.validation.validate import ValidationSettings
    from cryosphere.validation.validate import validate as run_validation

    settings = ValidationSettings(epochs, seed, omit_segment)
    run_validation(run, outdir, settings=settings, device=device, progress=terminal_progress())
