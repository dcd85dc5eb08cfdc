"""`cryosphere evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def evaluate(
    run: Path,
    /,
    *,
    truth: Path,
    domain: Annotated[list[str] | None, Parameter(name=("--domain", "--domains"), negative="")] = None,
    oracle_images: int = 1000,
    structure_images: int = 1000,
    fsc_images: int = 100,
    fsc_box: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Compare a run on simulated images with the truth, beside the best that was possible (the oracle).

    Prints what it found and writes RUN/evaluation.json; RUN/evaluation/ holds a page with pictures, evaluation.html,
    and the values of every image, figures.npz.

    Args:
        run: The run directory that `cryosphere train` made.
        truth: The truth.npz that `cryosphere simulate` wrote.
        domain: Residues to measure between, such as LID=A:122-159 (LID=122-159 where the chain has no
            name or does not matter), or CORE=rest for all that no other names; give it twice or more often.
            Default: the domains that the simulation moved.
        oracle_images: Images for the oracle, the posterior mean over the true conformations; 0 leaves it out.
        structure_images: Structures that are searched for local agreement (lDDT), clashes and broken chain links.
        fsc_images: Volumes that are compared with the true ones by Fourier shell correlation; 0 leaves it out.
        fsc_box: Voxels along their side, over the images' field of view; by default the images' own. 128 is
            CryoBench's, and the one to take for figures beside its tables.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from cryosphere.cli.progress import terminal_progress
    from cryosphere.evaluation.evaluate import evaluate as run_evaluation
    from cryosphere.evaluation.wording import describe
    from cryosphere.launch import is_first_of_job

    result = run_evaluation(
        run,
        truth,
        domains=domain or (),
        oracle_images=oracle_images,
        structure_images=structure_images,
        fsc_images=fsc_images,
        fsc_box=fsc_box,
        device=device,
        progress=terminal_progress(),
    )
    if is_first_of_job():
        print(describe(result))
