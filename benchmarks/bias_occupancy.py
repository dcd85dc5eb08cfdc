"""Learned occupancies beside the truth: residues that no image has, and a part that half of the images lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bias_work import command
from sklearn.metrics import roc_auc_score

from cryosphere.analysis.run import Run
from cryosphere.simulation.truth import load_truth

ABSENT = ("B", 464, 503)
HALVES: tuple[tuple[str, int, str, tuple[str, ...]], ...] = (
    # what half of the images lack, its first residue in chain B, the data, options of training
    ("a domain of 183 residues (B 321-503)", 321, "SNR 0.1", ()),
    ("a domain of 183 residues (B 321-503)", 321, "SNR 0.01", ()),
    ("40 residues (B 464-503)", 464, "SNR 0.1", ()),
    ("40 residues, `encoder.residual=true`", 464, "SNR 0.1", ("--set", "encoder.residual=true")),
)


def lacking(residues: pd.DataFrame) -> pd.Series[bool]:
    """Which residues of a table no image of the paper's B.2.4 has."""
    chain, first, last = ABSENT
    return (residues["chain"] == chain) & residues["residue"].between(first, last)


def found_absent(run: Path) -> dict[str, Any]:
    """How many of the residues that no image has are told so, and of the others that they are there."""
    command("analyze", run)
    residues = pd.read_csv(run / "analysis" / "occupancy.csv", keep_default_na=False)
    gone = lacking(residues)
    low, high = residues["occupancy"] < 0.3, residues["occupancy"] > 0.8
    wrong = residues[(gone & ~low) | (~gone & ~high)]
    names = [f"{one.chain}{one.residue} {one.occupancy:.2f}" for one in wrong.itertuples()]
    return {"low": int(low[gone].sum()), "high": int(high[~gone].sum()), "wrong": ", ".join(names) or "none"}


def separated(run: Path) -> dict[str, Any]:
    """How well the part's mean occupancy tells held-out images that lack it from those that have it."""
    opened, truth = Run(run), load_truth(run.parent / "truth.npz")
    rows = opened.model.validation_rows
    occupancies = opened.model.occupancies(opened.model.encode(rows).mean)
    gone = truth.absent_sets[0]
    part, present = occupancies[:, gone].mean(1), truth.presence[rows, 0]
    return {
        "area": f"{roc_auc_score(present, part):.3f}",
        "right": f"{100 * np.mean((part > 0.5) == present):.0f} %",
        "present": f"{part[present].mean():.2f}",
        "absent": f"{part[~present].mean():.2f}",
    }
