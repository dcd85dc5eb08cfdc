"""The structures of a traversal drawn over each other."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryosphere.presentation.style import SEQUENTIAL, new_figure, styled

Float = NDArray[np.floating]
_MOST_POINTS = 3_100  # residues times frames drawn per view: more would only be a thicket


def structure_ensemble(frames: Float, bonded: NDArray[np.int64], title: str) -> Figure:
    """Backbone traces of the frames in three orthogonal views, coloured from the first frame to the last.

    frames (points, R, 3) Å; bonded (P, 2) pairs of residues joined by a line. The views look along the principal
    axes of the structures, the longest lying across the page, and share scale and axes like a drawing: front view,
    beside it the view from the side, below it the one from above.
    """
    shown = frames[np.unique(np.linspace(0, len(frames) - 1, _frame_count(frames)).round().astype(int))]
    views = _principal_axes(shown)
    colours = colormaps[SEQUENTIAL](np.linspace(0.0, 0.92, len(shown)))
    width = 0.5 if shown.shape[1] > 3000 else 0.8 if shown.shape[1] > 400 else 1.2
    low, high = views.reshape(-1, 3).min(axis=0), views.reshape(-1, 3).max(axis=0)
    half = np.maximum(0.53 * (high - low), 0.14 * float((high - low).max()) + 1.0)  # no view narrower than its labels
    centre = 0.5 * (low + high)
    scale = min(5.6 / (half[0] + half[2]), 4.8 / (half[1] + half[2]))  # inches per Å on the page, both ways
    with styled():
        figure = new_figure(2.6 + scale * (half[0] + half[2]), 1.5 + scale * (half[1] + half[2]))
        panels = figure.subplots(2, 2, width_ratios=(half[0], half[2]), height_ratios=(half[1], half[2]))
        for axes, across, up in ((panels[0, 0], 0, 1), (panels[0, 1], 2, 1), (panels[1, 0], 0, 2)):
            for frame, colour in zip(views, colours, strict=True):
                x, y = _trace(frame, bonded, across, up)
                axes.plot(x, y, color=colour, linewidth=width, alpha=0.9, solid_joinstyle="round")
            axes.set_aspect("equal")
            axes.set_xlim(centre[across] - half[across], centre[across] + half[across])
            axes.set_ylim(centre[up] - half[up], centre[up] + half[up])
            axes.set_xlabel(f"axis {across + 1} (Å)")
            axes.set_ylabel(f"axis {up + 1} (Å)")
        panels[0, 0].set_title(title)
        panels[1, 1].set_axis_off()
        bar = figure.colorbar(
            _mappable(len(frames)), cax=panels[1, 1].inset_axes((0.1, 0.45, 0.8, 0.07)), orientation="horizontal",
            label="point of the traversal",
        )  # fmt: skip
        bar.set_ticks([1, len(frames)])
        return figure


def _frame_count(frames: Float) -> int:
    return int(np.clip(_MOST_POINTS // max(frames.shape[1], 1), 2, min(len(frames), 10))) if len(frames) > 1 else 1


def _principal_axes(frames: Float) -> Float:
    """The frames turned so that x is their longest and z their shortest axis; a proper rotation."""
    points = frames.reshape(-1, 3).astype(np.float64)
    centred = points - points.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), range(3)] < 0, -1.0, 1.0)
    if np.linalg.det(axes) < 0:
        axes[:, 2] *= -1
    return np.asarray((centred @ axes).reshape(frames.shape))


def _trace(frame: Float, bonded: NDArray[np.int64], across: int, up: int) -> tuple[Float, Float]:
    """One line through all bonds, interrupted between bonds that do not follow each other; lone residues left out."""
    if len(bonded) == 0:
        return frame[:, across], frame[:, up]
    follows = bonded[1:, 0] == bonded[:-1, 1]
    runs = np.split(bonded, np.flatnonzero(~follows) + 1)
    index = np.concatenate([np.r_[run[:, 0], run[-1, 1], -1] for run in runs])
    x, y = frame[index, across].astype(np.float64), frame[index, up].astype(np.float64)
    x[index < 0] = np.nan
    return x, y


def _mappable(count: int) -> ScalarMappable:
    return ScalarMappable(Normalize(1, max(count, 2)), colormaps[SEQUENTIAL])
