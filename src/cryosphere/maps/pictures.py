"""Pictures of a map: how far its halves agree, and what it looks like."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cryosphere.maps.reconstruction import Reconstruction
from cryosphere.presentation.style import new_figure, styled

_CURVES = (
    ("unmasked", "unmasked", "#8a8f98", "-", 1.2),
    ("masked", "masked", "#56B4E9", "-", 1.2),
    ("phase_randomised", "masked, random phases", "#D55E00", "--", 1.2),
    ("corrected", "corrected", "#0072B2", "-", 2.0),
)
_LINE = 0.143
_BAR_SHARE = 0.25  # of the box: about the length of the scale bar
_ROUND = (1, 2, 5)


def correlation_curves(found: Reconstruction) -> Figure:
    """The half-maps' correlation against resolution, with and without mask, and where it crosses 0.143."""
    curves = found.curves
    with styled():
        figure = new_figure(6.4, 4.2)
        axes = figure.subplots()
        for name, label, colour, line, width in _CURVES:
            if name == "phase_randomised" and curves.randomised_from is None:
                continue
            values = getattr(curves, name)[1:]
            axes.plot(curves.frequencies[1:], values, color=colour, linestyle=line, linewidth=width, label=label)
        axes.axhline(_LINE, color="black", linewidth=0.8, linestyle=":")
        axes.text(0, _LINE + 0.015, f" {_LINE}", fontsize=8, va="bottom")
        crossing = found.resolution()
        if crossing.kind == "crossed":
            axes.plot(1 / crossing.angstrom, _LINE, "o", color="#0072B2", markersize=5)
        axes.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axes.set_xlim(0, curves.frequencies[-1])
        axes.set_ylim(min(-0.1, float(curves.corrected[1:].min()) - 0.02), 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(7, prune="lower"))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1 / value:.1f}" if value > 0 else ""))
        axes.set_xlabel("resolution (Å)")
        axes.set_ylabel("correlation of the half-maps (FSC)")
        axes.set_title(f"Corrected, at {_LINE}: {crossing}")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8.5)
        return figure


def central_sections(found: Reconstruction) -> Figure:
    """The three sections through the centre of the map, seen along z, y and x, with a scale bar."""
    volume, centre = found.map, found.grid.box // 2
    sections = (
        ("along z", volume[centre], "x", "y"),
        ("along y", volume[:, centre], "x", "z"),
        ("along x", volume[:, :, centre], "y", "z"),
    )
    low, high = np.percentile(volume, 1), float(max(section.max() for _, section, *_ in sections))
    with styled():
        figure = new_figure(9.0, 3.3)
        for axes, (title, section, across, up) in zip(figure.subplots(1, 3), sections, strict=True):
            axes.imshow(section, cmap="gray", origin="lower", vmin=low, vmax=max(high, low + 1e-12))
            axes.set_title(title)
            axes.set_xlabel(across)
            axes.set_ylabel(up)
            axes.set_xticks([])
            axes.set_yticks([])
            _add_scale_bar(axes, found)
        return figure


def _add_scale_bar(axes: Axes, found: Reconstruction) -> None:
    box, voxel = found.grid.box, found.grid.pixel_size
    length = _round_length(_BAR_SHARE * found.grid.length)
    start, height = 0.05 * box, 0.06 * box
    axes.plot([start, start + length / voxel], [height, height], color="white", linewidth=2.5, solid_capstyle="butt")
    axes.text(start, height + 0.025 * box, f"{length:g} Å", color="white", fontsize=8, va="bottom")


def _round_length(largest: float) -> float:
    """The longest of 1, 2, 5, 10, 20, … that is no longer than this."""
    power = 10.0 ** np.floor(np.log10(largest))
    return float(max(step * power for step in _ROUND if step * power <= largest * (1 + 1e-9)))
