"""`cryosphere project`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cryosphere.cli.options import Files, Flag


def project(
    *,
    model: Path,
    particles: Files,
    output: Path,
    ctf: Annotated[bool, Parameter(name="--ctf")] = True,
    pixel_size: float | None = None,
    box: int | None = None,
    datadir: Path | None = None,
    overwrite: Flag = False,
) -> None:
    """Project an atomic model as each particle would show it.

    Needs the particles' metadata only (poses, shifts, CTF), not their images; where the metadata lack the box, one
    stack's header says it.

    Args:
        model: Atomic model, PDB or mmCIF, placed with respect to the box centre.
        particles: RELION .star or cryoSPARC .cs; several .cs files of the same particles may be given.
        output: Stack to write, .mrcs.
        ctf: Modulate the images by the particles' CTF.
        pixel_size: Å per pixel; default: what the particle file says.
        box: Side of the images in pixels; default: what the particle file says, or else its first stack.
        datadir: Folder in which to look for the image stacks first.
        overwrite: Replace the stack where it already exists.
    """
    from cryosphere.cli.progress import terminal_progress
    from cryosphere.simulation.project import ProjectionSettings, project_particles

    settings = ProjectionSettings(ctf="apply" if ctf else "omit", pixel_size=pixel_size, box=box, datadir=datadir)
    project_particles(model, particles, output, settings, progress=terminal_progress(), overwrite=overwrite)
