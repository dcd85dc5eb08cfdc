"""Pictures of a model against its density: along the chains, and conformation by conformation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cryosphere.presentation.style import new_figure, segment_colours, styled
from cryosphere.volumes.findings import Findings, correlation_along

Float = NDArray[np.float64]

MOST_CHAINS = 12
_LINE, _EACH, _MARK = "#0072B2", "#9aa5b1", "#E69F00"
_ABSENT, _WEAK = "#D55E00", "#8a8f98"
_STRIP = 0.075  # of a panel's height: the segments below the lines
_NOISE = 6.0  # standard deviations at the ends of the difference's colours


def support_figure(found: Findings) -> Figure:
    """Support of each residue with its error, all states together and each alone, chain by chain."""
    bonded = found.beads.bonded
    each = np.stack([one.along(bonded).amplitude for one in found.each])
    along = found.along
    return _along_chains(found, along.amplitude, each, ("support", 2 * along.error, (-0.3, 1.5)))


def correlation_figure(found: Findings) -> Figure:
    """Local correlation of maps and structures around each residue, chain by chain."""
    each = correlation_along(found)
    low = float(np.floor(10 * min(0.5, each.min())) / 10)
    return _along_chains(found, each.mean(axis=0), each, ("correlation", None, (low, 1.02)))


def _along_chains(
    found: Findings, values: Float, each: Float, style: tuple[str, Float | None, tuple[float, float]]
) -> Figure:
    label, error, limits = style
    chains = _chains(found, values)
    with styled():
        figure = new_figure(10.65, 0.5 + 2.0 * len(chains))
        for axes, (name, rows) in zip(figure.subplots(len(chains), 1, squeeze=False)[:, 0], chains, strict=True):
            number = found.beads.number[rows]
            for verdict, colour in (("absent", _ABSENT), ("weak", _WEAK)):
                for first, last in runs_of(number[found.verdicts[rows] == verdict]):
                    axes.axvspan(first - 0.5, last + 0.5, color=colour, alpha=0.18, linewidth=0, zorder=0)
            gaps = np.where(np.diff(number, prepend=number[0]) > 1, np.nan, 0.0)
            axes.plot(number, (each[:, rows] + gaps).T, color=_EACH, linewidth=0.6)
            if error is not None:
                band = values[rows] - error[rows], values[rows] + error[rows]
                axes.fill_between(number, *band, color=_LINE, alpha=0.25, linewidth=0)
                axes.axhline(0.5, color="#444444", linewidth=0.8, linestyle=":")
            axes.plot(number, values[rows] + gaps, color=_LINE, linewidth=1.6)
            _strip(axes, found, rows, limits)
            axes.set_title(f"chain {name}" if name.strip() else "chain without a name", fontsize=9, pad=3)
            axes.set_ylabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=14))
        axes.set_xlabel("residue number in the input model")
        return figure


def runs_of(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and last number of each run of residue numbers that follow one another."""
    if not len(numbers):
        return []
    ordered = np.unique(numbers)
    begins = np.append([True], np.diff(ordered) > 1)
    return list(zip(ordered[begins].tolist(), ordered[np.append(begins[1:], [True])].tolist(), strict=True))


def _chains(found: Findings, values: Float) -> list[tuple[str, NDArray[np.int64]]]:
    """Name and residues of each chain in the order of the model; of many, those with the lowest values."""
    chain = np.asarray(found.beads.chain)
    names, first = np.unique(chain, return_index=True)
    names = names[np.argsort(first)]
    if len(names) > MOST_CHAINS:
        lowest = [values[chain == name].min() for name in names]
        names = names[np.sort(np.argsort(lowest, kind="stable")[:MOST_CHAINS])]
    return [(str(name), np.flatnonzero(chain == name).astype(np.int64)) for name in names]


def _strip(axes: Axes, found: Findings, rows: NDArray[np.int64], limits: tuple[float, float]) -> None:
    """The segments of a chain's residues in a strip at the foot of its panel."""
    colours = segment_colours(found.segmentation.residues)
    number = found.beads.number[rows]
    first, last = int(number.min()), int(number.max())
    strip = np.ones((1, last - first + 1, 3))
    strip[0, number - first] = colours[found.segmentation.assignment[rows]]
    low, high = limits
    foot = low - _STRIP * (high - low)
    axes.imshow(strip, extent=(first - 0.5, last + 0.5, foot, low), aspect="auto", interpolation="nearest", zorder=3)
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.set_ylim(foot, high)


def state_figure(found: Findings, index: int) -> Figure:
    """Structure, map and their difference in sections and sums along z, y and x, with axes in Å."""
    seen = found.maps[index]
    cut, grid = _Cut.of(found, index), seen.shells.grid
    places, absent = seen.residues.places, found.rows("absent")
    half = 0.5 * grid.pixel_size
    ends = (np.arange(grid.box)[[0, -1]] - grid.box // 2) * grid.pixel_size
    extent = (ends[0] - half, ends[1] + half, ends[0] - half, ends[1] + half)
    with styled():
        figure = new_figure(10.65, 5.2)
        panels = figure.subplots(3, 6)
        for name, line in zip(("structure", "map", "difference"), panels, strict=True):
            for place, axes in enumerate(line):
                axis, kind = place % 3, "section" if place < 3 else "sum"
                low, high = cut.scale(name, axis, kind)
                colours = "RdBu_r" if name == "difference" else "gray"
                view = cut.view(name, axis, kind)
                axes.imshow(view, extent=extent, origin="lower", cmap=colours, vmin=low, vmax=high)
                _dress(axes, places[absent], (axis, kind, name))
        _zoom(panels.ravel(), places, extent)
        for name, axes in zip(("structure", "map", "map - structure"), panels[:, 0], strict=True):
            axes.set_ylabel(f"{name}\n{axes.get_ylabel()}")
        return figure


@dataclass(frozen=True)
class _Cut:
    """Structure, map and difference of a state, [z, y, x], and the voxel that sections go through, in that order.

    in_deviations: the difference is in standard deviations of the noise; else as structure and map are.
    """

    volumes: dict[str, NDArray[np.float32]]
    middle: NDArray[np.int64]
    in_deviations: bool

    @classmethod
    def of(cls, found: Findings, index: int) -> _Cut:
        seen, absent = found.maps[index], found.rows("absent")
        shown, grid = seen.shown(), seen.shells.grid
        centre = (seen.residues.places[absent] if len(absent) else seen.residues.places).mean(axis=0)
        middle = np.clip(np.round(centre[::-1] / grid.pixel_size).astype(np.int64) + grid.box // 2, 0, grid.box - 1)
        in_deviations = found.states[index].bandwidth is not None  # a network's half-maps share what it has not learned
        difference = shown.difference if in_deviations else shown.seen - shown.structure
        return cls({"structure": shown.structure, "map": shown.seen, "difference": difference}, middle, in_deviations)

    def view(self, name: str, axis: int, kind: str) -> NDArray[np.float32]:
        """The section across an axis, or the sum along it."""
        volume = self.volumes[name]
        return np.asarray(
            volume.take(int(self.middle[axis]), axis=axis) if kind == "section" else volume.sum(axis=axis)
        )

    def scale(self, name: str, axis: int, kind: str) -> tuple[float, float]:
        """The values of black and white, the same for structure and map; of the difference, those of blue and red."""
        white = max(*(float(self.view(one, axis, kind).max()) for one in ("structure", "map")), 1e-12)
        if name != "difference":
            return 0.0, white
        if self.in_deviations:
            white = _NOISE if kind == "section" else max(float(np.abs(self.view(name, axis, kind)).max()), 1e-12)
        return -white, white


def _dress(axes: Axes, absent: Float, what: tuple[int, str, str]) -> None:
    """Axes in Å, and the absent residues in the sums of the structure."""
    axis, kind, name = what
    across, up = ((0, 1), (0, 2), (1, 2))[axis]
    if kind == "sum" and name == "structure" and len(absent):
        axes.plot(absent[:, across], absent[:, up], ".", color=_MARK, markersize=2.2)
    if name == "structure":
        axes.set_title(f"{kind} along {'zyx'[axis]}", fontsize=8.5)
    if name == "difference":
        axes.set_xlabel(f"{'xyz'[across]} (Å)", fontsize=8)
    axes.set_ylabel(f"{'xyz'[up]} (Å)", fontsize=8, labelpad=1)
    axes.tick_params(labelsize=6.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _zoom(panels: NDArray[np.object_], places: Float, extent: tuple[float, float, float, float]) -> None:
    """Show what the structure takes up, and 15 Å around it."""
    reach = min(float(np.abs(places).max()) + 15.0, -extent[0], extent[1])
    for axes in panels:
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
