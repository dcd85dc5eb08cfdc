"""`cryosphere demo`."""

from __future__ import annotations

from pathlib import Path


def demo(*, outdir: Path = Path("demo"), images: int = 10_000, seed: int = 0) -> None:
    """Show the whole way on a protein made up on the spot: simulate, train, analyse, compare with the truth.

    Takes a few minutes on two processor cores and says in plain words what it found.

    Args:
        outdir: Folder for everything; an earlier demo there is replaced.
        images: Images to simulate.
        seed: Of the protein, its images and the training.
    """
    from cryosphere.cli.progress import terminal_progress
    from cryosphere.demo import demo as run_demo

    result = run_demo(outdir, images=images, seed=seed, progress=terminal_progress())
    if result is None:
        raise KeyboardInterrupt
    print(result.text)
