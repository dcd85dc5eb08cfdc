"""`cryosphere prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cryosphere.cli.options import Files, Flag


def prepare(
    *,
    particles: Files,
    model: Path,
    outdir: Path,
    datadir: Path | None = None,
    map_: Annotated[Path | None, Parameter(name="--map")] = None,
    segments: int | None = None,
    mask: Flag = False,
    images: int | None = None,
    contrast: Literal["auto", "white", "black"] = "auto",
    seed: int = 0,
    allow_other_hand: Flag = False,
    overwrite: Flag = False,
) -> None:
    """Place a model among its particles and choose settings: a folder that `cryosphere train` takes as it is.

    A consensus map is made of the images (or given), the model is placed in it wherever it stands now, and low-pass and
    box follow from how far model and map agree. Writes model.cif, config.yaml with a reason at every setting, map.mrc,
    fsc.csv, and prepare.html with pictures: look at that before training. Then: cryosphere train OUTDIR/config.yaml
    --outdir RUN

    Args:
        particles: RELION .star or cryoSPARC .cs with poses; several .cs files of the same particles may be given.
        model: Atomic model, PDB or mmCIF, placed anywhere.
        outdir: The folder to make.
        datadir: Folder in which to look for the image stacks first.
        map_: Consensus map of these particles, MRC, with their field of view; default: made of the images.
        segments: Segments at most.
        mask: Compare images inside a disc around the particle only, where neighbours are near.
        images: Make the map of so many images, drawn at random; default: all, or as many as take minutes.
        contrast: Whether protein is bright (white) or dark (black) in the images; auto finds out.
        seed: Of the images drawn, of the map's halves, and of the run.
        allow_other_hand: Go on although the map's mirror image fits the model better.
        overwrite: Replace the folder of an earlier preparation.
    """
    from cryosphere.cli.progress import terminal_progress
    from cryosphere.preparation.prepare import PreparationSettings
    from cryosphere.preparation.prepare import prepare as run_preparation
    from cryosphere.preparation.wording import describe

    settings = PreparationSettings(
        density_map=map_,
        datadir=datadir,
        segments=segments,
        mask=mask,
        images=images,
        contrast=contrast,
        seed=seed,
        allow_other_hand=allow_other_hand,
    )
    found = run_preparation(particles, model, outdir, settings, progress=terminal_progress(), overwrite=overwrite)
    print(describe(found))
    print(f"\nnext: look at {outdir / 'prepare.html'}, then: cryosphere train {outdir / 'config.yaml'} --outdir RUN")
