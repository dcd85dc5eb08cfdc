"""Where the images lie in latent space, and where the traversals go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cryosphere.presentation.style import MUTED, SEQUENTIAL, TRAIN, new_figure, styled

Float = NDArray[np.float64]
_PATH_COLOURS = ("#D55E00", "#009E73", "#CC79A7")
_FEW = 400  # below this many images each is drawn as a dot


def latent_density(scores: Float, explained: Float, paths: Sequence[Float]) -> Figure:
    """Density of the images in the first two principal components, with the numbered points of the traversals.

    scores (n, K) and the traversals' points (points, K) along the principal components; explained (K,) variance
    shares. With K = 1 a histogram.
    """
    with styled():
        figure = new_figure(9.0, 4.6)
        main, side = figure.subplots(1, 2, width_ratios=(3, 1))
        if scores.shape[1] == 1:
            _histogram(main, scores[:, 0], paths[0][:, 0])
        else:
            _plane(figure, main, scores, paths)
        _explained(side, explained)
        return figure


def _plane(figure: Figure, axes: Axes, scores: Float, paths: Sequence[Float]) -> None:
    x, y = scores[:, 0], scores[:, 1]
    if len(scores) < _FEW or np.ptp(x) == 0 or np.ptp(y) == 0:
        axes.plot(x, y, "o", color=TRAIN, markersize=4, alpha=0.6, markeredgewidth=0)
    else:
        left, right, low, high = map(float, (*np.percentile(x, (0.1, 99.9)), *np.percentile(y, (0.1, 99.9))))
        bins = axes.hexbin(
            x, y, gridsize=int(np.clip(np.sqrt(len(x)) / 2, 15, 70)), mincnt=1, bins="log", cmap=SEQUENTIAL,
            extent=(left, right, low, high), linewidths=0.1,
        )  # fmt: skip
        figure.colorbar(bins, ax=axes, label="images per cell", shrink=0.85, pad=0.01)
    for component, path in enumerate(paths[:2]):
        _numbered_path(axes, path[:, :2], component)
    axes.set_xlabel("PC1 (latent units)")
    axes.set_ylabel("PC2 (latent units)")
    axes.set_title(f"Latents of {len(scores):,} images")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)


def _numbered_path(axes: Axes, path: Float, component: int) -> None:
    colour = _PATH_COLOURS[component % len(_PATH_COLOURS)]
    axes.plot(path[:, 0], path[:, 1], "-", color="white", linewidth=3.0, zorder=3)
    axes.plot(
        path[:, 0], path[:, 1], "o-", color=colour, linewidth=1.4, markersize=10, markeredgecolor="white",
        markeredgewidth=0.8, zorder=4, label=f"traversal pc{component + 1}",
    )  # fmt: skip
    for number, (x, y) in enumerate(path, start=1):
        axes.text(x, y, str(number), color="white", fontsize=6, ha="center", va="center", zorder=5, weight="bold")


def _histogram(axes: Axes, values: Float, points: Float) -> None:
    axes.hist(values, bins=int(np.clip(np.sqrt(len(values)), 5, 80)), color=TRAIN, alpha=0.75)
    top = axes.get_ylim()[1]
    for number, x in enumerate(points, start=1):
        axes.plot([x, x], [0, top], color=_PATH_COLOURS[0], linewidth=0.8)
        axes.plot(x, top, "o", color=_PATH_COLOURS[0], markersize=10, clip_on=False)
        axes.text(x, top, str(number), color="white", fontsize=6, ha="center", va="center", weight="bold")
    axes.set_ylim(0, top * 1.05)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("latent (latent units)")
    axes.set_ylabel("images")
    axes.set_title(f"Latents of {len(values):,} images, points of traversal pc1", pad=14)


def _explained(axes: Axes, explained: Float) -> None:
    shown = explained[:12]
    axes.bar(np.arange(1, len(shown) + 1), 100 * shown, color=MUTED, width=0.7)
    axes.set_xlim(0.3, max(len(shown), 3) + 0.7)
    axes.set_ylim(0, 105)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_xlabel("principal component")
    axes.set_ylabel("share of latent variance (%)")
    axes.set_title("Explained variance")
