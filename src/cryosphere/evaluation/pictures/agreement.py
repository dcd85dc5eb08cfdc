"""Distances and angles: predicted against true, and how they are distributed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cryosphere.evaluation.pictures.panels import (
    COLUMNS,
    ORACLE,
    PREDICTED,
    TRUE,
    histograms,
    limits_of,
    name_of,
    panels,
)
from cryosphere.evaluation.results import Agreement, PerImage
from cryosphere.presentation.style import SEQUENTIAL, styled

MOST_FIGURES = 12
MOST_POINTS = 3000  # drawn one by one; more become a density


def predicted_against_true(per_image: PerImage, agreements: Sequence[Agreement]) -> Figure:
    """One panel per figure, one point per image, with the line on which prediction and truth are equal."""
    shown = min(len(agreements), MOST_FIGURES)
    with styled():
        figure, axes = panels(shown, height=3.5)
        for panel, (k, name, unit) in zip(axes, name_of(per_image.names, per_image.units), strict=False):
            _scatter(panel, per_image, k)
            panel.set_title(name, fontsize=9)
            panel.set_xlabel(f"true ({unit})")
            panel.set_ylabel(f"predicted ({unit})")
            _corner(panel, agreements[k])
        return figure


def _scatter(axes: Axes, per_image: PerImage, k: int) -> None:
    true, predicted = per_image.true[k], per_image.predicted[k]
    low, high = limits_of([true, predicted])
    axes.plot([low, high], [low, high], color="#999999", linewidth=0.9, linestyle="--", zorder=1)
    if len(true) <= MOST_POINTS:
        opacity = float(np.clip(20 / np.sqrt(len(true)), 0.3, 0.9))
        axes.scatter(true, predicted, s=5, color=PREDICTED, alpha=opacity, linewidths=0, rasterized=True, zorder=2)
    else:
        axes.hexbin(
            true, predicted, gridsize=60, extent=(low, high, low, high), bins="log", mincnt=1, cmap=SEQUENTIAL,
            linewidths=0, zorder=2,
        )  # fmt: skip
    base = float(per_image.base[k])
    if low <= base <= high:
        axes.plot(base, base, marker="+", color="black", markersize=9, markeredgewidth=1.4, zorder=3)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")


def _corner(axes: Axes, agreement: Agreement) -> None:
    """Correlation, and the best that was possible, where there are no points: predictions seldom exceed the truth."""
    lines = ["does not vary" if np.isnan(agreement.correlation) else f"r = {agreement.correlation:.3f}"]
    if agreement.oracle_correlation is not None and np.isfinite(agreement.oracle_correlation):
        lines.append(f"possible {agreement.oracle_correlation:.3f}")
    axes.text(
        0.04, 0.96, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=8.5, linespacing=1.4,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2}, zorder=4,
    )  # fmt: skip


def distributions(per_image: PerImage) -> Figure:
    """One panel per figure: how the images are distributed in truth, as predicted, and as the oracle finds them."""
    shown = min(len(per_image.names), MOST_FIGURES)
    with styled():
        figure, axes = panels(shown)
        for panel, (k, name, unit) in zip(axes, name_of(per_image.names, per_image.units), strict=False):
            values = {"true": per_image.true[k], "predicted": per_image.predicted[k]}
            if len(per_image.oracle_rows):
                values["oracle"] = per_image.oracle[k]
            limits = limits_of([*values.values(), per_image.base[[k]]])
            histograms(panel, values, (TRUE, PREDICTED, ORACLE)[: len(values)], limits)
            panel.axvline(per_image.base[k], color="black", linewidth=0.9, linestyle=":", label="base structure")
            panel.set_title(name, fontsize=9)
            panel.set_xlabel(unit)
            if k % COLUMNS == 0:
                panel.set_ylabel("share of images")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8.5)
        return figure
