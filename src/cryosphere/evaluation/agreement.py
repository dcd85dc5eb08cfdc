"""How well a figure is predicted, and how well it could have been."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosphere.evaluation import measures
from cryosphere.evaluation.comparison import Sample
from cryosphere.evaluation.figures import Figure
from cryosphere.evaluation.oracle import Oracle
from cryosphere.evaluation.results import Agreement
from cryosphere.simulation.truth import Truth

Float = NDArray[np.float64]


def agreement(
    figure: Figure, predicted: Float, of_conformations: Float, truth: Truth, oracle: Oracle | None
) -> Agreement:
    """Predicted values (n,) beside the true ones and, on the oracle's images, beside the oracle's.

    of_conformations (K,): the figure of every true conformation.
    """
    true = of_conformations[truth.conformation_index]
    found = Agreement(
        name=figure.name,
        unit=figure.unit,
        correlation=measures.correlation(predicted, true),
        mean_error=float(np.abs(predicted - true).mean()),
        oracle_correlation=None,
        oracle_images=0,
        correlation_on_oracle_images=None,
        true_range=_range(true),
        predicted_range=_range(predicted),
    )
    if oracle is None:
        return found
    there, best = true[oracle.rows], oracle.expected(of_conformations)
    achieved, possible = measures.correlation(predicted[oracle.rows], there), measures.correlation(best, there)
    return replace(
        found,
        oracle_correlation=possible,
        oracle_images=len(oracle.rows),
        correlation_on_oracle_images=achieved,
        oracle_mean_error=float(np.abs(best - there).mean()),
        oracle_sd=oracle.uncertainty(of_conformations, there),
        oracle_ceiling=measures.correlation(oracle.without_noise(of_conformations), there),
        correlation_ratio=achieved / possible if abs(possible) > 0 else float("nan"),
    )


def compare_axes(figure: Figure, sample: Sample) -> dict[str, Any]:
    """The main axes of an angle's predicted and true turns, and the angle between them; nothing where nothing turns."""
    if figure.turn is None:
        return {}
    predicted, true = figure.turn(sample.predicted), figure.turn(sample.true)
    if min(np.degrees(np.abs(turns)).max() for turns in (predicted, true)) < measures.SMALLEST_RANGE:
        return {}
    axis, true_axis = measures.main_axis(predicted), measures.main_axis(true)
    along = float(axis @ true_axis)
    return {
        "axis": tuple((axis * np.sign(along)).tolist()),
        "true_axis": tuple(true_axis.tolist()),
        "axis_error": float(np.degrees(np.arccos(min(abs(along), 1.0)))),
    }


def _range(values: Float) -> tuple[float, float]:
    low, high = np.percentile(values, [1, 99])
    return float(low), float(high)
