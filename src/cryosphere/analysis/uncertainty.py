"""How sure the place of every residue is: over the images, as a table, and in written structures.

Two things leave a residue's place open: an image does not settle its latent (the posterior's spread, carried through
the decoder), and the learned structures are off whatever the latent (`training.model_error`, found from held-out
images). Their variances add up.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryosphere.analysis.motions import batches
from cryosphere.analysis.run import Run
from cryosphere.structures.write import ModelWriter
from cryosphere.training.spread import residue_sd

MOST_IMAGES = 2000  # percentiles over images do not get more precise with more
NUMBERS_AT_ONCE = 2**24  # standard deviations held at once
REMARK = (
    "B_iso_or_equiv holds the standard deviation of each residue's place in angstroms, not a B-factor "
    "(B would be 8 pi^2 / 3 times its square)"
)
UNKNOWN = "B_iso_or_equiv is the input model's: there were too few images to tell how sure the residues' places are"


def uncertainty_table(run: Run) -> pd.DataFrame:
    """One row per residue: standard deviations of its place in Å, over at most MOST_IMAGES images evenly spread.

    `sd_median` and `sd_90`: median and 90th percentile over the images; `sd_latent`: median of what the latents leave
    open; `sd_structure`: the structures' own error, the same for all images (empty where it is not known).
    """
    error, residues = run.structure_error, len(run.segments)
    most = int(np.clip(NUMBERS_AT_ONCE // max(residues, 1), 20, MOST_IMAGES))
    rows = np.unique(np.linspace(0, len(run) - 1, min(most, len(run))).astype(np.int64))
    latent = np.empty((len(rows), residues), dtype=np.float32)
    for part in batches(len(rows), max(1, min(128, NUMBERS_AT_ONCE // (16 * max(residues, 1))))):
        some = rows[part]
        latent[part] = residue_sd(run.model, run.latents[some], run.latent_sd[some], error, own=False)
    own = np.zeros(residues) if error is None else error.residue_variance
    median, high = np.sqrt(np.square(np.percentile(latent, (50, 90), axis=0)) + own)
    table = run.residue_table[["chain", "residue", "insertion", "name"]].copy()
    return table.assign(
        sd_median=median.round(3),
        sd_90=high.round(3),
        sd_latent=np.median(latent, axis=0).round(3),
        sd_structure=np.nan if error is None else np.sqrt(own).round(3),
    )


def own_sd(run: Run) -> NDArray[np.float64] | None:
    """Standard deviations (R,) in Å of residues' places in a structure at a given latent, which no image leaves open.

    The error of the learned structures alone; None where images are too few to tell it.
    """
    error = run.structure_error
    return None if error is None else np.sqrt(error.residue_variance)


def structure_writer(run: Run, *, sure: bool) -> ModelWriter:
    """Writes structures of a run under the name of its model, and says at their head what the B-factor column holds.

    sure: standard deviations are written into it.
    """
    model = run.model.atomic_model
    name = Path(run.model.config.model.name.removesuffix(".gz")).stem  # the run keeps it as model.cif
    return ModelWriter(replace(model, name=name), remark=REMARK if sure else UNKNOWN)
