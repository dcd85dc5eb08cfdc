"""`cryosphere analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def analyze(run: Path, /, *, device: Literal["auto", "cpu", "cuda"] = "auto") -> None:
    """Show what a run has learned: latents, segments, motions, structures along the main motions, a report.

    Writes RUN/analysis/ with report.html to begin with; an earlier analysis there is replaced.

    Args:
        run: The run directory that `cryosphere train` made.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from cryosphere.analysis.analyze import analyze as run_analysis
    from cryosphere.cli.progress import terminal_progress

    run_analysis(run, device=device, progress=terminal_progress())
