"""Everything that a validation found, for JSON, table and page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryosphere import __version__
from cryosphere.structures.beads import Beads
from cryosphere.validation.agreement import ResidueAgreement, SegmentOverlap
from cryosphere.validation.gains import Gains
from cryosphere.validation.omitted import Omitted
from cryosphere.validation.verdict import Motion

Float = NDArray[np.float64]

FIRST_COLUMNS = ("chain", "residue", "insertion", "name", "correlation_same_data")  # of validation.csv


@dataclass(frozen=True)
class Sets:
    """Which images were used, and how the half-sets came about."""

    run: str
    images: int
    trained_on: tuple[int, int]
    compared: int  # images that neither model saw
    how: str
    epochs: int


@dataclass(frozen=True)
class Places:
    """Where the images lie along the common motions, (n, k) with either model, each from another half of the data."""

    first: Float
    second: Float


@dataclass(frozen=True)
class Validation:
    """What was found."""

    sets: Sets
    motions: tuple[Motion, ...]
    gains: Gains
    residues: ResidueAgreement
    overlap: SegmentOverlap
    distance_correlation: float
    amplitudes: tuple[tuple[float, ...], tuple[float, ...]]  # Å, of either model's principal motions
    null: Float  # largest canonical correlations of exchanged images
    places: Places
    moves: Float  # (k, R) Å, how far the residues move along each motion, mean of both models
    beads: Beads
    omitted: Omitted | None = None

    @property
    def supported(self) -> list[Motion]:
        """The motions that are reproduced."""
        return [one for one in self.motions if one.verdict == "reproduced"]

    @property
    def conclusion(self) -> str:
        """One or two sentences."""
        weak = [one.name for one in self.motions if one.verdict == "weak"]
        unsure = f" Weak, neither shown nor excluded: {'; '.join(weak)}." if weak else ""
        if not self.supported:
            return (
                "No motion is supported: independent halves of the data do not agree on any beyond what noise and the "
                f"direction of view explain, or it does not foretell what it was not fitted to.{unsure}"
            )
        names = "; ".join(one.name for one in self.supported)
        word = "One motion is" if len(self.supported) == 1 else f"{len(self.supported)} motions are"
        return f"{word} reproduced by independent halves of the data: {names}.{unsure}"

    def as_dict(self) -> dict[str, Any]:
        """For verdict.json."""
        return {
            "version": __version__,
            "conclusion": self.conclusion,
            "motions": [one.as_dict() for one in self.motions],
            "held_out_gains_nats_per_image": {
                name: asdict(getattr(self.gains, name)) for name in ("over_base", "over_mean", "over_exchanged")
            },
            "same_images": {
                "displacement_correlation_same_data": _weighted(self.residues.same_data, self.residues.spread),
                "displacement_correlation_split_data": _weighted(self.residues.split_data, self.residues.spread),
                "distance_correlation": self.distance_correlation,
            },
            "omitted_segment": None if self.omitted is None else asdict(self.omitted),
            "segments": asdict(self.overlap),
            "principal_motion_amplitudes": [list(one) for one in self.amplitudes],
            "sets": asdict(self.sets),
        }

    def table(self) -> pd.DataFrame:
        """For validation.csv: a row for each residue."""
        beads = self.beads
        chain, insertion, name = (np.asarray(one).astype(str) for one in (beads.chain, beads.insertion, beads.name))
        first = (chain, np.asarray(beads.number), np.char.strip(insertion), name, self.residues.same_data.round(4))
        columns: dict[str, Any] = dict(zip(FIRST_COLUMNS, first, strict=True)) | {
            "correlation_split_data": self.residues.split_data.round(4),
            "spread_half1": self.residues.spread[0].round(3),
            "spread_half2": self.residues.spread[1].round(3),
        }
        columns |= {f"motion{k + 1}": one.round(3) for k, one in enumerate(self.moves)}
        return pd.DataFrame(columns)


def _weighted(values: Float, spread: tuple[Float, Float]) -> float:
    """Mean over residues, which count as far as they move."""
    weights = spread[0] * spread[1]
    return float((weights * values).sum() / weights.sum()) if weights.sum() > 1e-6 else 0.0
