"""Whether the truth lies within the intervals that a run gives, as often as it should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from cryosphere.evaluation.figures import Figure, at_once
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.truth import Truth
from cryosphere.training.model_error import ModelError
from cryosphere.training.spread import opposite_structures, widened
from cryosphere.training.trained import Latents, TrainedModel

Float = NDArray[np.float64]

LEVELS = (0.6827, 0.95)  # of the intervals that are told
CURVE = tuple(round(0.05 * k, 2) for k in range(1, 20))  # nominal shares at which the picture is drawn
BINS = 1000  # of the shares that intervals through the truth would hold
MODES_SHOWN_ON = 8  # structures, on which the error's effect on figures is measured
SMALLEST = 1e-6  # Å or degrees: standard deviation of what does not move


@dataclass(frozen=True)
class Claims:
    """What a run says of its structures, and how sure it is."""

    latents: Latents  # of all images
    error: ModelError | None  # of the structures, whatever the latent


@dataclass(frozen=True)
class Coverage:
    """How often the truth lies within intervals, for one figure of the structures or for the residues' places.

    `inside`: shares within the 68.27 % and the 95 % intervals; `latent_inside`: within those that the latents' spread
    alone gives, without the structures' own error. `curve`: shares within the intervals of CURVE's nominal shares.
    """

    name: str
    unit: str
    inside: tuple[float, float]
    latent_inside: tuple[float, float]
    sd: float  # root mean square of the standard deviations
    error: float  # root mean square distance from the truth
    curve: list[float]
    latent_curve: list[float]


@dataclass(frozen=True)
class Calibration:
    """Intervals of a sample of images against the truth."""

    images: int
    coverages: list[Coverage]  # figures; at last the residues that are in the images
    structure_error: float | None  # Å, root mean square over residues; None where images were too few to tell
    dispersion: float | None  # of the likelihood, as the images tell it; 1: white noise as strong as taken


def calibrate(
    model: TrainedModel,
    truth: Truth,
    claims: Claims,
    figures: Sequence[Figure],
    rows: NDArray[np.int64],
    progress: Progress = SILENT,
) -> Calibration:
    """Look for the truth of some images, `rows`, within their intervals.

    Structures are compared as they lie, since the poses say where the molecule is. A figure's interval is normal about
    the predicted one. A residue's is a ball about its predicted place, whose radius follows from the covariance of its
    three coordinates (Satterthwaite's approximation to a sum of squares); residues that an image lacks do not count.
    """
    residues, error = len(truth.amplitudes), claims.error
    step = max(1, at_once(residues) // 8)
    of_structures = _figure_variances(model, claims.latents.mean[rows], figures, error)
    own = np.zeros((residues, 3, 3)) if error is None else error.covariances()
    gaps, spreads = [], []
    tallies, sums = [np.zeros(BINS), np.zeros(BINS)], np.zeros(3)
    with progress.track(len(rows), "looking for the truth within the intervals") as advance:
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            seen = _Seen(model, truth, some, claims, figures)
            gaps.append(seen.gaps)
            spreads.append(seen.variances)
            for k, covariance in enumerate((seen.covariances + own, seen.covariances)):
                tallies[k] += np.histogram(_share(seen.squares, covariance)[seen.present], BINS, (0.0, 1.0))[0]
            total = np.trace(seen.covariances + own, axis1=2, axis2=3)
            sums += total[seen.present].sum(), seen.squares[seen.present].sum(), seen.present.sum()
            advance(len(some))
    gap, latent = np.concatenate(gaps, axis=1), np.concatenate(spreads, axis=1)
    coverages = [
        _of_figure(figure, gap[k], latent[k] + of_structures[k], latent[k]) for k, figure in enumerate(figures)
    ]
    places = [np.cumsum(tally) / max(tally.sum(), 1.0) for tally in tallies]
    sd, rms = np.sqrt(sums[:2] / max(sums[2], 1.0)).tolist()
    return Calibration(
        images=len(rows),
        coverages=[*coverages, _coverage("residues' places", "Å", places, sd, rms)],
        structure_error=None if error is None else float(np.sqrt(error.residue_variance.mean())),
        dispersion=None if error is None else error.dispersion,
    )


class _Seen:
    """Some images: predicted and true structures, and what the latents' spread does to the predicted ones."""

    def __init__(
        self,
        model: TrainedModel,
        truth: Truth,
        rows: NDArray[np.int64],
        claims: Claims,
        figures: Sequence[Figure],
    ) -> None:
        mean = claims.latents.mean[rows]
        predicted, true = model.bead_positions(mean), truth.positions(rows)
        self.gaps = np.stack([figure.of(true) - figure.of(predicted) for figure in figures])  # (F, n)
        self.squares = np.square(true - predicted, dtype=np.float64).sum(axis=-1)  # (n, R)
        self.present = truth.present(rows)
        self.variances = np.zeros(self.gaps.shape)
        self.covariances = np.zeros((*predicted.shape, 3))
        for after, before in opposite_structures(model, mean, widened(claims.latents.sd[rows], claims.error)):
            self.variances += _changes(figures, after, before) ** 2
            half = (after - before) / 2
            self.covariances += half[..., :, None] * half[..., None, :]


def _changes(figures: Sequence[Figure], after: NDArray[np.floating], before: NDArray[np.floating]) -> Float:
    """Half of what figures differ by between two sets of structures, (F, n)."""
    return np.stack([(figure.of(after) - figure.of(before)) / 2 for figure in figures])


def _figure_variances(
    model: TrainedModel, mean: NDArray[np.float32], figures: Sequence[Figure], error: ModelError | None
) -> Float:
    """Variance that the structures' own error brings to every figure, (F,): on average over a few structures."""
    total = np.zeros(len(figures))
    if error is None:
        return total
    some = np.unique(np.linspace(0, len(mean) - 1, min(MODES_SHOWN_ON, len(mean))).astype(np.int64))
    predicted = model.bead_positions(mean[some])
    for mode in error.displacements():
        total += np.square(_changes(figures, predicted + mode, predicted - mode)).mean(axis=1)
    return total


def _share(squares: Float, covariance: Float) -> Float:
    """Probability of the ball that just holds the truth: squared distances (...) of covariances (..., 3, 3)."""
    trace = np.clip(np.trace(covariance, axis1=-2, axis2=-1), SMALLEST**2, None)
    of_squares = np.clip(np.square(covariance).sum(axis=(-2, -1)), (SMALLEST**2) ** 2, None)
    return np.asarray(chi2.cdf(squares * trace / of_squares, trace**2 / of_squares))


def _of_figure(figure: Figure, gap: Float, variance: Float, latent: Float) -> Coverage:
    shares = []
    for one in (variance, latent):
        held = chi2.cdf(gap**2 / np.clip(one, SMALLEST**2, None), 1)
        shares.append(np.cumsum(np.histogram(held, BINS, (0.0, 1.0))[0]) / max(len(gap), 1))
    sd, rms = (float(np.sqrt(values.mean())) for values in (variance, gap**2))
    return _coverage(figure.name, figure.unit, shares, sd, rms)


def _coverage(name: str, unit: str, shares: Sequence[Float], sd: float, error: float) -> Coverage:
    """`shares`: cumulative over BINS of nominal share; of the whole intervals, then of the latents' alone."""
    edges = np.linspace(0.0, 1.0, BINS + 1)
    at = [[float(np.interp(x, edges, np.r_[0.0, share])) for x in (*LEVELS, *CURVE)] for share in shares]
    (low, high, *curve), (latent_low, latent_high, *latent_curve) = at
    return Coverage(name, unit, (low, high), (latent_low, latent_high), sd, error, curve, latent_curve)
