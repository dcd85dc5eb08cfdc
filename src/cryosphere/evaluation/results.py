"""What an evaluation finds: the figures of evaluation.json, and the values of every image behind them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.evaluation.calibration import Calibration
from cryosphere.evaluation.fsc import FscSummary
from cryosphere.evaluation.latents import LatentQuality
from cryosphere.evaluation.lddt import LocalAgreement
from cryosphere.evaluation.overlap import Cover, FoundSegment
from cryosphere.evaluation.partition import Partition
from cryosphere.evaluation.stereochemistry import Stereochemistry
from cryosphere.files import replacing

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How well one figure of the structures is predicted, over all images, beside the best that was possible.

    What begins with `oracle_` is the posterior mean over the true conformations, on a sample of the images.
    """

    name: str
    unit: str
    correlation: float
    mean_error: float  # mean absolute difference
    oracle_correlation: float | None
    oracle_images: int
    correlation_on_oracle_images: float | None
    true_range: tuple[float, float]  # 1st and 99th percentile
    predicted_range: tuple[float, float]
    oracle_mean_error: float | None = None
    oracle_sd: float | None = None  # of oracle_correlation: by which images and candidates it happens to be
    oracle_ceiling: float | None = None  # what oracle_correlation would be without noise, with these candidates
    correlation_ratio: float | None = None  # correlation_on_oracle_images / oracle_correlation
    axis: tuple[float, float, float] | None = None  # of an angle: the predicted turns' main one, base structure's frame
    true_axis: tuple[float, float, float] | None = None
    axis_error: float | None = None  # degrees between the two lines; an axis has no direction


@dataclass(frozen=True)
class Deviations:
    """RMSD in Å from the true structures, as they lie and superposed, of the predicted and of the base structure."""

    as_they_lie: float
    superposed: float
    base_as_they_lie: float
    base_superposed: float


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; written as evaluation.json."""

    images: int
    deviation: float  # Å, mean over images of the RMSD to the true structure, as they lie
    aligned_deviation: float  # Å, after superposition
    base_deviation: float  # Å, of the unmoved base structure
    base_aligned_deviation: float
    agreements: list[Agreement]
    segments: list[FoundSegment]
    covers: list[Cover]  # the same, domain by domain
    boundaries: list[tuple[str, int]]  # (chain, residue) after which the chain passes into another segment
    median_deviations: Deviations | None = None
    lddt: LocalAgreement | None = None
    stereochemistry: Stereochemistry | None = None
    partition: Partition | None = None
    latent: LatentQuality | None = None
    fsc: FscSummary | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class PerImage:
    """The values behind an Evaluation, for pictures and for other programs; written as evaluation/figures.npz.

    n images, F figures (a distance and an angle for every pair of domains), L latent dimensions; the oracle looked at
    m images, `oracle_rows`; what costs more was taken of s structures, `structure_rows`.
    """

    names: NDArray[np.str_]  # (F,)
    units: NDArray[np.str_]  # (F,)
    predicted: Float  # (F, n)
    true: Float  # (F, n)
    base: Float  # (F,) of the base structure
    oracle_rows: NDArray[np.int64]  # (m,)
    oracle: Float  # (F, m)
    deviation: Float  # (n,) Å
    aligned_deviation: Float  # (n,) Å
    base_deviation: Float  # (n,) Å
    base_aligned_deviation: Float  # (n,) Å
    latent_mean: NDArray[np.float32]  # (n, L)
    latent_sd: NDArray[np.float32]  # (n, L)
    structure_rows: NDArray[np.int64]  # (s,)
    lddt: Float  # (s,) 0 to 1
    base_lddt: Float  # (s,)
    clashes: NDArray[np.int64]  # (s,)
    true_clashes: NDArray[np.int64]  # (s,)
    broken_links: NDArray[np.int64]  # (s,)
    true_broken_links: NDArray[np.int64]  # (s,)

    def save(self, path: Path) -> None:
        """Write every array under its name into a NumPy archive without pickled objects."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
