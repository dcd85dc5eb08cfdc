"""What the pictures of an evaluation share: colours, grids of panels, histograms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryosphere.presentation.style import MUTED, TRAIN, VALIDATION, new_figure

PREDICTED, TRUE, ORACLE, BASE = TRAIN, "#3c4148", VALIDATION, MUTED
COLUMNS = 3
FEWEST_BINS, MOST_BINS = 10, 40


def panels(count: int, height: float = 2.9, columns: int = COLUMNS) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of at most three, as wide as the page."""
    columns = max(1, min(columns, count))
    rows = math.ceil(count / columns)
    figure = new_figure((0.0, 5.3, 8.4, 10.65)[columns], height * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, list(axes[:count])


def histograms(
    axes: Axes, values: Mapping[str, NDArray[np.floating]], colours: Sequence[str], limits: tuple[float, float]
) -> None:
    """Outlines of several distributions over the same bins, as shares of the images; the first one is filled.

    What lies beyond the limits is counted in the outermost bins.
    """
    smallest = min((np.isfinite(numbers).sum() for numbers in values.values()), default=0)
    edges = np.linspace(*limits, int(np.clip(1.6 * np.sqrt(smallest), FEWEST_BINS, MOST_BINS)) + 1)
    for k, ((label, numbers), colour) in enumerate(zip(values.items(), colours, strict=True)):
        finite = np.clip(numbers[np.isfinite(numbers)], *limits)
        if not len(finite):
            continue
        shares = np.histogram(finite, edges)[0] / len(finite)
        if k == 0:
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.22)
        axes.stairs(shares, edges, color=colour, linewidth=1.4, label=label)
    axes.set_xlim(*limits)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


def limits_of(values: Sequence[NDArray[np.floating]], lowest: float | None = None) -> tuple[float, float]:
    """A range that shows all but the outermost half per mille, never empty."""
    together = np.concatenate([np.ravel(v) for v in values])
    together = together[np.isfinite(together)]
    low, high = np.percentile(together, [0.05, 99.95]) if len(together) else (0.0, 1.0)
    low = low if lowest is None else lowest
    margin = max(0.04 * (high - low), 1e-3 * max(abs(low), abs(high), 1.0))
    return float(low - (margin if lowest is None else 0.0)), float(high + margin)


def name_of(names: NDArray[np.str_], units: NDArray[np.str_]) -> Iterator[tuple[int, str, str]]:
    """(row, name, axis label's unit) of every figure."""
    for k, (name, unit) in enumerate(zip(names, units, strict=True)):
        yield k, str(name), "degrees" if unit == "°" else str(unit)
