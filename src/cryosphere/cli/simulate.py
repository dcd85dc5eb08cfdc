"""`cryosphere simulate`."""

from __future__ import annotations

from pathlib import Path

from cryosphere.cli.options import Flag


def simulate(
    config: Path,
    /,
    *,
    outdir: Path,
    seed: int | None = None,
    overwrite: Flag = False,
) -> None:
    """Simulate images of a protein whose motion is known.

    Writes particles.star, particles.mrcs, model.cif, truth.npz and the configuration as used. When it is stopped, the
    same command goes on from the images made so far.

    Args:
        config: What to simulate, in YAML: motion (hinge, trajectory, way between two structures), jitter, residues that
            some images lack, images, microscopes, CTF, errors of the poses (see the documentation's simulation page).
        outdir: Folder for the results; made where it does not exist.
        seed: Overrides the configuration's seed.
        overwrite: Replace a simulation that already lies in the output folder.
    """
    from cryosphere.cli.progress import terminal_progress
    from cryosphere.simulation.config import load_simulation

    settings = load_simulation(config, seed=seed)  # a mistake in it is told before torch is loaded
    from cryosphere.simulation.simulate import simulate as run_simulation

    run_simulation(settings, outdir, progress=terminal_progress(), overwrite=overwrite)
