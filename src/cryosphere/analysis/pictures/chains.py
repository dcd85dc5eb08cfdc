"""Along the chains of the input model: which segment each residue belongs to, and how much it moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cryosphere.presentation.style import new_figure, segment_colours, styled, text_colour

Float = NDArray[np.float64]
MOST_CHAINS = 60


@dataclass(frozen=True)
class ChainLayout:
    """Polymer residues of the model: chain, author residue number and segment (0-based) of each, (R,) arrays."""

    chain: NDArray[np.str_]
    number: NDArray[np.int64]
    assignment: NDArray[np.int64]
    segment_sizes: NDArray[np.int64]  # (N,) residues of each segment

    def chains(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Chain names in file order, with the residues of each; at most 60."""
        names, first = np.unique(self.chain, return_index=True)
        for name in names[np.argsort(first)][:MOST_CHAINS]:
            yield str(name), np.flatnonzero(self.chain == name)

    @property
    def chain_count(self) -> int:
        return min(len(np.unique(self.chain)), MOST_CHAINS)


def segments_along_chains(layout: ChainLayout, membership: Float) -> Figure:
    """One bar per chain, coloured by segment along the residue numbers; mixed colours where membership is shared.

    membership (R, N).
    """
    colours = segment_colours(layout.segment_sizes)
    count = layout.chain_count
    used = np.flatnonzero(layout.segment_sizes)
    columns = min(len(used), 10)
    with styled():
        figure = new_figure(9.5, 1.3 + max(0.30 * count, 0.5) + 0.2 * int(np.ceil(len(used) / columns)))
        axes = figure.subplots()
        for row, (_, residues) in enumerate(layout.chains()):
            own = membership[residues]
            mixed = own @ colours[:-1] + (1 - own.sum(axis=1, keepdims=True)) * colours[-1]
            _bar(axes, row, layout, residues, np.clip(mixed, 0, 1))
            _labels(axes, row, layout, residues, colours)
        axes.set_yticks(range(count), [name or "(blank)" for name, _ in layout.chains()])
        axes.set_ylim(count - 0.4, -0.6)
        span = (layout.number.min(), layout.number.max())
        axes.set_xlim(span[0] - 0.5, span[1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        axes.set_xlabel("residue number in the input model")
        axes.set_ylabel("chain")
        axes.set_title("Segments along the chain")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        figure.legend(
            handles=[Patch(color=colours[s], label=f"S{s + 1} ({layout.segment_sizes[s]})") for s in used],
            loc="outside lower center", ncols=columns, fontsize=8, handlelength=1.0, columnspacing=1.2,
        )  # fmt: skip
        return figure


def _bar(axes: Axes, row: int, layout: ChainLayout, residues: NDArray[np.int64], colours: Float) -> None:
    """One chain as a strip of pixels, white where the model has no residue of that number."""
    numbers = layout.number[residues]
    first = int(numbers.min())
    strip = np.ones((1, int(numbers.max()) - first + 1, 3))
    strip[0, numbers - first] = colours
    axes.imshow(
        strip, extent=(first - 0.5, first + strip.shape[1] - 0.5, row + 0.38, row - 0.38), aspect="auto",
        interpolation="nearest",
    )  # fmt: skip


def _labels(axes: Axes, row: int, layout: ChainLayout, residues: NDArray[np.int64], colours: Float) -> None:
    """Name the segment inside each run of residues, without a gap, that is wide enough to hold it."""
    span = max(int(np.ptp(layout.number)), 1)
    parts = layout.assignment[residues]
    gaps = np.diff(layout.number[residues]) > 0.01 * span
    edges = np.flatnonzero((np.diff(parts) != 0) | gaps) + 1
    for start, stop in zip(np.r_[0, edges], np.r_[edges, len(parts)], strict=True):
        low, high = layout.number[residues[start]], layout.number[residues[stop - 1]]
        segment = int(parts[start])
        if high - low > 0.028 * span and segment >= 0:
            axes.text(
                0.5 * (low + high), row, f"S{segment + 1}", ha="center", va="center", fontsize=7.5,
                color=text_colour(colours[segment]),
            )  # fmt: skip


def residue_movement(layout: ChainLayout, movement: Float) -> Figure:
    """RMS displacement (R,) in Å of every residue over the images, against its number; one panel per chain."""
    return _against_number(layout, movement, "RMS displacement (Å)", max(float(movement.max(initial=0.0)) * 1.08, 0.1))


def occupancy_along_chains(layout: ChainLayout, occupancy: Float, band: tuple[Float, Float] | None = None) -> Figure:
    """Occupancy (R,) of every residue against its number, one panel per chain. `band`: how far it varies."""
    highest = occupancy if band is None else band[1]
    return _against_number(layout, occupancy, "occupancy", max(float(highest.max(initial=1.0)) * 1.08, 1.1), band)


def _against_number(
    layout: ChainLayout, every: Float, label: str, top: float, band: tuple[Float, Float] | None = None
) -> Figure:
    """Values (R,) of every residue from 0 to `top`, one panel per chain, over a grey band (R,) each."""
    colours = segment_colours(layout.segment_sizes)
    count = layout.chain_count
    columns = 1 if count <= 6 else 2 if count <= 12 else 4
    rows = int(np.ceil(count / columns))
    with styled():
        figure = new_figure(9.5, 0.7 + (2.4 if count == 1 else 1.5 if columns < 4 else 1.1) * rows)
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for axes, (name, residues) in zip(panels, layout.chains(), strict=False):
            numbers, values = layout.number[residues], every[residues]
            order = np.argsort(numbers, kind="stable")
            gaps = np.where(np.diff(numbers[order], prepend=numbers[order][0]) > 1, np.nan, 0.0)
            axes.plot(numbers[order], values[order] + gaps, color="#bbbbbb", linewidth=0.7, zorder=1)
            if band is not None:
                low, high = (edge[residues][order] + gaps for edge in band)
                axes.fill_between(numbers[order], low, high, color="#dddddd", linewidth=0, zorder=0)
            size = 14 if len(residues) < 200 else 5
            axes.scatter(
                numbers, values, c=colours[layout.assignment[residues]], s=size, linewidths=0, zorder=2, clip_on=False
            )
            axes.set_title(f"chain {name or '(blank)'}", fontsize=8.5 if columns < 4 else 7.5, pad=2)
            axes.set_xlim(numbers.min() - 0.5, numbers.max() + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12 // columns))
            axes.tick_params(labelsize=8 if columns < 4 else 6.5)
        for axes in panels[count:]:
            axes.set_visible(False)
        panels[0].set_ylim(-0.03 * top, top)
        figure.supxlabel("residue number in the input model", fontsize=9)
        figure.supylabel(label, fontsize=9)
        return figure
