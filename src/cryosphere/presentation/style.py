"""Colours, fonts and saving shared by all pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

DPI = 150
TRAIN, VALIDATION, MUTED = "#0072B2", "#D55E00", "#8a8f98"
SEQUENTIAL = "cividis"
EMPTY_SEGMENT = (0.78, 0.78, 0.78)

# Okabe and Ito's set for all kinds of colour vision, without its black, ordered so that neighbours differ in lightness
_BASE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.labelcolor": "#222222",
    "legend.frameon": False,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches, laid out so that no label is cut off; no global state is touched."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def styled() -> Iterator[None]:
    """Context in which axes and text get the house's look."""
    with mpl.rc_context():
        mpl.rcParams.update(_SETTINGS)
        yield


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's content."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": "cryosphere"})
    return buffer.getvalue()


def segment_colours(residues: NDArray[np.int64]) -> NDArray[np.float64]:
    """RGB colours (N + 1, 3) of N segments with so many residues each: distinct for those in use, grey for empty ones
    and, in the last row, for residues that belong to none.

    After seven segments the colours come again darker, then lighter, and so on; labels tell them apart.
    """
    colours = np.tile(np.array(EMPTY_SEGMENT), (len(residues) + 1, 1))
    for place, segment in enumerate(np.flatnonzero(residues)):
        colours[segment] = _shade(to_rgb(_BASE[place % len(_BASE)]), place // len(_BASE))
    return colours


def text_colour(background: NDArray[np.float64]) -> str:
    """Black or white, whichever reads better on the RGB background."""
    return "black" if background @ np.array([0.299, 0.587, 0.114]) > 0.55 else "white"


def _shade(rgb: tuple[float, float, float], turn: int) -> tuple[float, float, float]:
    hue, lightness, saturation = colorsys.rgb_to_hls(*rgb)
    factor = (1.0, 0.62, 1.38, 0.42, 1.6)[turn % 5]
    return colorsys.hls_to_rgb(hue, min(lightness * factor, 0.9), saturation)
