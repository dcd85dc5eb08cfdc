"""What was found when a model's conformations were compared with their density: figures, verdicts, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryosphere.analysis.segments import Segmentation
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.beads import Beads
from cryosphere.structures.ranges import ResidueRange
from cryosphere.volumes.expected import Residues, SeenMap, Shells
from cryosphere.volumes.state import StateVolume
from cryosphere.volumes.support import Support, find_support, window_means
from cryosphere.volumes.verdicts import (
    SegmentVerdict,
    Verdict,
    stretches,
    verdicts_of_residues,
    verdicts_of_segments,
)

Float = NDArray[np.float64]

_COARSEST = 40.0  # Å: taken for the resolution of a map whose halves agree nowhere


@dataclass(frozen=True)
class Findings:
    """A model's residues against the density of some of its conformations.

    joint: support by all states together; each: by each alone. correlation (states, R): local correlation of each
    state's map with its structure around each residue.
    """

    segmentation: Segmentation
    states: Sequence[StateVolume]
    maps: Sequence[SeenMap]
    joint: Support
    each: Sequence[Support]
    correlation: Float
    method: str

    @property
    def beads(self) -> Beads:
        return self.segmentation.beads

    @cached_property
    def along(self) -> Support:
        """Support by all states together, in windows of nine residues: what verdicts rest on, (R,)."""
        return self.joint.along(self.beads.bonded)

    @cached_property
    def verdicts(self) -> NDArray[np.str_]:
        """(R,) "supported", "weak" or "absent"."""
        return verdicts_of_residues(self.joint, self.beads.bonded)

    @cached_property
    def segments(self) -> list[SegmentVerdict]:
        """The verdict on each segment that has residues."""
        names, assignment = self.segmentation.names, self.segmentation.assignment
        return verdicts_of_segments(self.joint, self.verdicts, assignment, names, self.beads)

    def stretches(self, verdict: Verdict) -> tuple[ResidueRange, ...]:
        """The stretches of residues of a verdict."""
        return stretches(self.beads, self.verdicts, verdict)

    def rows(self, verdict: Verdict) -> NDArray[np.int64]:
        """The residues of a verdict, from 0."""
        return np.flatnonzero(self.verdicts == verdict).astype(np.int64)

    def residue_table(self) -> pd.DataFrame:
        """One row per residue, as in support.csv: support and its error in windows of nine residues."""
        beads, assignment = self.beads, self.segmentation.assignment
        names = np.array([*self.segmentation.names, "fixed"])
        return pd.DataFrame(
            {
                "chain": np.asarray(beads.chain).astype(str),
                "residue": np.asarray(beads.number),
                "insertion": np.char.strip(np.asarray(beads.insertion).astype(str)),
                "name": np.asarray(beads.name).astype(str),
                "support": self.along.support.round(4),
                "error": self.along.error.round(4),
                "correlation": self.correlation.mean(axis=0).round(4),
                "segment": names[assignment],  # -1, held fixed, is the last
                "verdict": self.verdicts,
            }
        )

    def segment_table(self) -> pd.DataFrame:
        """One row per segment that has residues, as in support_segments.csv."""
        return pd.DataFrame(
            [
                {
                    "segment": one.name,
                    "ranges": " ".join(map(str, one.ranges)),
                    "support": round(float(np.clip(one.support, 0, 1)), 4),
                    "error": round(one.error, 4),
                    **dict(zip(("supported", "weak", "absent"), one.counts, strict=True)),
                    "verdict": one.verdict,
                }
                for one in self.segments
            ]
        )


@dataclass(frozen=True)
class Conformations:
    """A model's segments, and where its residues are in some states, (states, R, 3) Å, as beads of so many Å.

    spread: for each state, (K, R, 3): where they are in some of its images; None: as in the state.
    """

    segmentation: Segmentation
    places: Float
    sigma: float
    spread: Sequence[Float | None] | None = None


def compare_with_density(
    conformations: Conformations,
    states: Sequence[StateVolume],
    images: float,
    method: str = "",
    progress: Progress = SILENT,
) -> Findings:
    """How much of each residue is in the density of the states.

    images: of the whole data set; states that share images count as fewer independent ones.
    """
    beads = conformations.segmentation.beads
    shells = Shells(states[0].grid)
    with progress.track(len(states) + 2, "comparing structures with density") as advance:
        maps = []
        spread = conformations.spread or [None] * len(states)
        for state, places, samples in zip(states, conformations.places, spread, strict=True):
            residues = Residues(np.asarray(places, dtype=np.float64), beads.amplitudes, conformations.sigma, samples)
            maps.append(SeenMap(state, residues, shells))
        advance(1)
        resolutions = [resolution_of(state) for state in states]
        used = sum(state.images for state in states) / len(states)
        independent = float(np.clip(images / max(used, 1.0), 1.0, len(states)))
        joint, each = find_support(maps, beads.bonded, resolutions, independent, lambda: advance(1))
        correlation = np.stack([seen.local_correlation(d) for seen, d in zip(maps, resolutions, strict=True)])
        advance(1)
    return Findings(conformations.segmentation, states, maps, joint, each, correlation, method)


def resolution_of(state: StateVolume) -> float:
    """Å; 40 where the half-maps agree nowhere."""
    angstrom = state.resolution.angstrom
    return angstrom if np.isfinite(angstrom) else _COARSEST


def correlation_along(found: Findings) -> Float:
    """(states, R): local correlation in windows of nine residues."""
    return np.stack([window_means(one, found.beads.bonded) for one in found.correlation])
