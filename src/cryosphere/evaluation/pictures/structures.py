"""Whole structures beside the true ones: deviation, local agreement, clashes, volumes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from cryosphere.evaluation.fsc import FscCurves, FscResult
from cryosphere.evaluation.pictures.panels import BASE, PREDICTED, TRUE, histograms, limits_of, panels
from cryosphere.evaluation.results import PerImage
from cryosphere.presentation.style import new_figure, styled

RESOLUTIONS = (100, 50, 30, 20, 15, 10, 8, 6, 5, 4, 3.5, 3, 2.5, 2, 1.5, 1.2, 1)  # Å, where there is room


def deviations(per_image: PerImage) -> Figure:
    """Distributions of the RMSD to the true structure, as they lie and superposed, and of the local agreement."""
    with styled():
        figure, axes = panels(3)
        for panel, found, base, title in (
            (axes[0], per_image.deviation, per_image.base_deviation, "RMSD as they lie"),
            (axes[1], per_image.aligned_deviation, per_image.base_aligned_deviation, "RMSD after superposition"),
        ):
            values = {"predicted structure": found, "base structure": base}
            histograms(panel, values, (PREDICTED, BASE), limits_of([found, base], lowest=0.0))
            panel.set_xlabel("Cα RMSD to the true structure (Å)")
            panel.set_title(f"{title}: {np.median(found):.2f} Å (median)", fontsize=9)
        low = float(np.nanmin([*per_image.lddt, *per_image.base_lddt], initial=1.0))
        values = {"predicted structure": per_image.lddt, "base structure": per_image.base_lddt}
        histograms(axes[2], values, (PREDICTED, BASE), (max(0.0, low - 0.02), 1.0))
        axes[2].set_xlabel("lDDT (1 is perfect)")
        axes[2].set_title(f"Neighbours kept: {np.nanmedian(per_image.lddt):.3f} (median)", fontsize=9)
        axes[0].set_ylabel("share of images")
        _legend_below(figure, axes[0])
        return figure


def defects(per_image: PerImage) -> Figure:
    """Distributions of clashes and of broken chain links per structure, predicted and true."""
    with styled():
        figure, axes = panels(2)
        for panel, found, true, label in (
            (axes[0], per_image.clashes, per_image.true_clashes, "residues under 4 Å apart, pairs per structure"),
            (axes[1], per_image.broken_links, per_image.true_broken_links, "broken chain links per structure"),
        ):
            _counts(panel, {"predicted structure": found, "true structure": true})
            panel.set_xlabel(label)
        axes[0].set_title("Clashes", fontsize=9)
        axes[1].set_title("Chain links", fontsize=9)
        axes[0].set_ylabel("share of images")
        _legend_below(figure, axes[0])
        return figure


def _counts(axes: Axes, values: dict[str, NDArray[np.int64]]) -> None:
    """Bars of whole numbers, one per count while there are few, else in equal bins."""
    highest = max(1, *(int(v.max(initial=0)) for v in values.values()))
    step = int(np.ceil((highest + 1) / 30))
    edges = np.arange(0, highest + step + 1, step) - 0.5
    for (label, numbers), colour, fill in zip(values.items(), (PREDICTED, TRUE), (True, False), strict=True):
        shares = np.histogram(numbers, edges)[0] / max(len(numbers), 1)
        if fill:
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.3)
        axes.stairs(shares, edges, color=colour, linewidth=1.4, label=label)
    axes.set_xlim(edges[0], edges[-1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


def _legend_below(figure: Figure, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8.5)


def shell_correlations(fsc: FscResult) -> Figure:
    """Mean over the images ± standard deviation of the correlation in each shell, beside the base structure's."""
    kinds = [("Volumes of beads", fsc.beads, fsc.base_beads)]
    if fsc.atoms is not None and fsc.base_atoms is not None:
        kinds.append(("Volumes of all atoms", fsc.atoms, fsc.base_atoms))
    with styled():
        figure = new_figure(10.65 if len(kinds) > 1 else 6.5, 3.8)
        axes = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
        for panel, (title, found, base) in zip(axes, kinds, strict=True):
            _band(panel, fsc.frequencies, found, PREDICTED, "predicted structure")
            _band(panel, fsc.frequencies, base, BASE, "base structure")
            for threshold in (0.5, 0.143):
                panel.axhline(threshold, color="#555555", linewidth=0.8, linestyle=":")
                panel.annotate(
                    f"{threshold:g}", (1.0, threshold), xycoords=("axes fraction", "data"), xytext=(-3, 2),
                    textcoords="offset points", fontsize=7.5, color="#555555", ha="right",
                )  # fmt: skip
            panel.set_title(title, fontsize=9)
            panel.set_xlabel("spatial frequency (1/Å)")
            panel.set_xlim(0, fsc.frequencies[-1])
            panel.set_ylim(min(-0.05, float(base.curves.mean(axis=0).min()) - 0.05), 1.05)
            _resolution_axis(panel, float(fsc.frequencies[-1]), len(kinds))
        axes[0].set_ylabel("Fourier shell correlation\nwith the true structure")
        _legend_below(figure, axes[0])
        return figure


def _band(axes: Axes, frequencies: NDArray[np.float64], found: FscCurves, colour: str, label: str) -> None:
    mean, sd = found.curves.mean(axis=0), found.curves.std(axis=0)
    axes.fill_between(frequencies, mean - sd, np.minimum(mean + sd, 1.0), color=colour, alpha=0.2, linewidth=0)
    axes.plot(frequencies, mean, color=colour, linewidth=1.6, label=label)


def _resolution_axis(axes: Axes, highest: float, panels_beside: int) -> None:
    """The same frequencies as a resolution in Å, along the top."""
    room = 0.08 * highest if panels_beside == 1 else 0.1 * highest
    chosen: list[float] = []
    for value in RESOLUTIONS:
        if 1 / value <= highest * 1.001 and 1 / value - (1 / chosen[-1] if chosen else 0.0) >= room:
            chosen.append(value)
    top = axes.secondary_xaxis("top", functions=(lambda x: x, lambda x: x))
    top.xaxis.set_major_locator(FixedLocator([1 / value for value in chosen]))
    top.xaxis.set_minor_locator(NullLocator())
    top.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{1 / x:g}"))
    top.tick_params(labelsize=8)
    top.set_xlabel("resolution (Å)", fontsize=8.5)
