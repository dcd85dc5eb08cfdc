"""`cryosphere doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cryosphere.cli.options import Files, Flag

FAULT_FOUND = 3


def doctor(
    *,
    particles: Files,
    model: Path,
    datadir: Path | None = None,
    outdir: Path | None = None,
    images: int = 2000,
    seed: int = 0,
    json_: Annotated[Flag, Parameter(name="--json")] = False,
) -> int:
    """Look for what is wrong with particles and model before a run is spent on them.

    Contrast, hand, pose convention, shifts, pixel size, the model's place, voltage, image order, duplicates and
    normalisation: what the images say is compared with what the files say. Ends with exit code 0 if nothing is found to
    be wrong, 3 if something is, 2 for files that cannot be read.

    Args:
        particles: RELION .star or cryoSPARC .cs with poses; several .cs files of the same particles may be given.
        model: Atomic model, PDB or mmCIF; its origin is taken as the centre of the images' box.
        datadir: Folder in which to look for the image stacks first.
        outdir: Folder for a page with pictures (doctor.html) and the figures (doctor.json).
        images: How many images to look at.
        seed: Of the sample.
        json_: Print JSON instead of a table.
    """
    import json

    from cryosphere.cli.progress import terminal_progress
    from cryosphere.doctor.diagnosis import text
    from cryosphere.doctor.examine import examine
    from cryosphere.errors import ConfigError
    from cryosphere.files import can_hold_files

    if outdir is not None and not can_hold_files(outdir):
        raise ConfigError(f"{outdir}: no files can be written there; choose another folder (--outdir)")
    found = examine(particles, model, datadir=datadir, images=images, seed=seed, progress=terminal_progress())
    print(json.dumps(found.as_dict(), indent=2) if json_ else text(found))
    if outdir is not None:
        from cryosphere.doctor.page import write_page

        write_page(found, outdir, f"{particles[0].name} and {model.name}")
    return FAULT_FOUND if found.faults else 0
