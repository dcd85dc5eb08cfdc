"""Volumes that `cryosphere volumes` made of simulated images, beside the true density."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from bias_work import command

from cryosphere.analysis.run import Run
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.files import read_map
from cryosphere.simulation.truth import load_truth
from cryosphere.volumes.truth import agreement_with_truth

EPOCHS = 30  # the decoder's own default; "trained ten times as long" has ten times that


def compared_methods(*, long: bool) -> dict[str, tuple[str, ...]]:
    """What is compared, and the options that it takes; nothing: the map of all images."""
    methods: dict[str, tuple[str, ...]] = {
        "all images, one map": (),
        "kernel regression": ("--method", "kernel"),
        "volume decoder": ("--method", "decoder", "--epochs", str(EPOCHS)),
    }
    if long:
        methods["volume decoder, ten times as long"] = ("--method", "decoder", "--epochs", str(10 * EPOCHS))
    return methods


def against_truth(run: Path, options: tuple[str, ...]) -> dict[str, Any]:
    """Make volumes along the main motion and compare each with the true density of its conformation; means of all."""
    folder = run.with_name("compared")
    known = run.with_name("compared-z.npy")
    if options:
        cost = command("volumes", run, "--outdir", folder, *options, fresh=folder)
        known.write_bytes((folder / "z.npy").read_bytes())
        z = np.load(known)
        maps = [read_map(folder / f"volume_{k:03d}.mrc") for k in range(len(z))]
    else:
        cost = command("backproject", "--particles", run.parent / "particles.star", "--outdir", folder, fresh=folder)
        z = np.load(known) if known.is_file() else _along_the_motion(run)
        maps = [read_map(folder / "map.mrc")] * len(z)
    grid = ImageGrid(maps[0].shape[0], maps[0].pixel_size)
    opened, truth = Run(run), load_truth(run.parent / "truth.npz")
    found = agreement_with_truth(opened, truth, z, [one.values for one in maps], grid)
    return {
        "mean": f"{np.mean([one.mean for one in found]):.3f}",
        "half": f"{np.mean([one.at_half.angstrom for one in found]):.2f}",
        "moving": f"{np.mean([one.moving for one in found]):.3f}",
        "rate": " ".join(re.findall(r"in [0-9.]+ s, ([0-9,]+) images/s", cost.said)[-1:]) or "-",
        "seconds": cost.seconds,
        "gigabytes": cost.gigabytes,
    }


def _along_the_motion(run: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The latents that `cryosphere volumes` chooses."""
    from cryosphere.volumes.targets import TargetSettings, chosen_targets

    return chosen_targets(Run(run), TargetSettings())
