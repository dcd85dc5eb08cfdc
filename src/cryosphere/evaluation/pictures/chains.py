"""Along the chains: the true domains above the learned segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cryosphere.evaluation.domains import Domain
from cryosphere.presentation.style import new_figure, segment_colours, styled, text_colour
from cryosphere.structures.beads import Beads
from cryosphere.structures.ranges import POLYMER_KINDS

MOST_CHAINS = 12
_TRUE_ROW, _LEARNED_ROW, _PITCH, _HALF = 0.0, 0.92, 2.45, 0.42


@dataclass(frozen=True)
class Strips:
    """Polymer residues: chain and number, and the domain and learned segment (from 0; -1: none) of each, (R,)."""

    chain: NDArray[np.str_]
    number: NDArray[np.int64]
    domain: NDArray[np.int64]
    segment: NDArray[np.int64]
    domain_names: Sequence[str]
    segments: int  # allowed

    @classmethod
    def of(cls, beads: Beads, groups: Sequence[Domain], assignment: NDArray[np.int64], segments: int) -> Strips:
        """Of a model whose residues (R,) belong to these domains and to the segments `assignment`, (R,)."""
        rows = np.flatnonzero(np.isin(beads.kind, POLYMER_KINDS))
        rows = rows if len(rows) else np.arange(len(beads))
        domain = np.full(len(beads), -1, dtype=np.int64)
        for k, group in enumerate(groups):
            domain[group.mask] = k
        names = [group.name for group in groups]
        return cls(beads.chain[rows], beads.number[rows], domain[rows], assignment[rows], names, segments)

    def chains(self) -> list[tuple[str, NDArray[np.int64]]]:
        """Name and residues of each chain in the order of the file, at most MOST_CHAINS."""
        names, first = np.unique(self.chain, return_index=True)
        return [(str(name), np.flatnonzero(self.chain == name)) for name in names[np.argsort(first)][:MOST_CHAINS]]


def domains_above_segments(strips: Strips) -> Figure:
    """Two bars per chain along its residue numbers: true domains above, learned segments below."""
    chains = strips.chains()
    sizes = np.bincount(strips.segment[strips.segment >= 0], minlength=strips.segments)
    with styled():
        figure = new_figure(10.65, 0.95 + 0.86 * len(chains))
        axes = figure.subplots()
        ticks: list[tuple[float, str]] = []
        for k, (name, rows) in enumerate(chains):
            top = k * _PITCH
            kinds = (
                (_TRUE_ROW, strips.domain, _domain_greys(len(strips.domain_names)), list(strips.domain_names)),
                (_LEARNED_ROW, strips.segment, segment_colours(sizes), [f"S{s + 1}" for s in range(strips.segments)]),
            )
            for offset, labels, colours, words in kinds:
                _bar(axes, top + offset, strips.number[rows], labels[rows], colours, words)
            chain = f"chain {name}" if name.strip() else "(blank chain)"
            ticks += [(top + _TRUE_ROW, f"{chain}  true"), (top + _LEARNED_ROW, "learned")]
        axes.set_yticks([y for y, _ in ticks], [label for _, label in ticks])
        axes.set_ylim((len(chains) - 1) * _PITCH + _LEARNED_ROW + 0.6, -0.6)
        axes.set_xlim(strips.number.min() - 0.5, strips.number.max() + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=14))
        axes.set_xlabel("residue number in the input model")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        return figure


def _domain_greys(count: int) -> NDArray[np.float64]:
    """Shades that no segment has, (count + 1, 3); the last one, nearly white, for residues of no domain."""
    levels = np.append(np.linspace(0.28, 0.82, max(count, 1))[:count], 0.95)
    return np.repeat(levels[:, None], 3, axis=1)


def _bar(
    axes: Axes, y: float, number: NDArray[np.int64], labels: NDArray[np.int64], colours: NDArray[np.float64],
    words: Sequence[str],
) -> None:  # fmt: skip
    """One strip of residues in their labels' colours, white where numbers are missing; wide runs carry their name."""
    first, span = int(number.min()), max(int(np.ptp(number)), 1)
    strip = np.ones((1, span + 1, 3))
    strip[0, number - first] = colours[labels]
    edges = (first - 0.5, first + strip.shape[1] - 0.5, y + _HALF, y - _HALF)
    axes.imshow(strip, extent=edges, aspect="auto", interpolation="nearest")
    breaks = np.flatnonzero((np.diff(labels) != 0) | (np.diff(number) > 0.01 * span)) + 1
    for start, stop in zip(np.r_[0, breaks], np.r_[breaks, len(labels)], strict=True):
        low, high, label = number[start], number[stop - 1], int(labels[start])
        if label >= 0 and high - low > 0.011 * span * (len(words[label]) + 0.6):
            axes.text(
                0.5 * (low + high), y, words[label], ha="center", va="center", fontsize=8,
                color=text_colour(colours[label]),
            )  # fmt: skip
