"""Observed images beside what the model predicts for them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cryosphere.presentation.style import new_figure, styled

Images = NDArray[np.float32]
_SHARED = (1, 3)  # rows of the picture with one grey scale


def example_images(
    observed: Images, predicted: Images, rows: NDArray[np.int64], pixel_size: float, resolution: float
) -> Figure:
    """For each image a column: observed, observed after a low-pass, predicted, and the difference after a low-pass.

    observed, predicted (n, box, box); `rows` (n,) image rows for the titles; pixel size and `resolution` of the
    low-pass in Å. Predictions are scaled to fit the observed images before the difference is taken; the two
    low-passed rows share one grey scale per image.
    """
    sigma = 0.187 * resolution / pixel_size  # a Gaussian that halves the amplitude at that resolution
    smooth = np.stack([gaussian_filter(image, sigma) for image in observed])
    fitted = np.stack([_scaled(p, o) for p, o in zip(predicted, observed, strict=True)])
    smooth_fitted = np.stack([gaussian_filter(image, sigma) for image in fitted])
    count = len(rows)
    labels = ("observed", f"observed,\nlow-pass {resolution:.0f} Å", "predicted", "difference,\nboth low-pass")
    with styled():
        figure = new_figure(max(1.0 + 1.45 * count, 4.0), 6.2)
        panels = figure.subplots(4, count, squeeze=False)
        for column in range(count):
            spread = _range(np.stack([smooth[column], smooth_fitted[column]]))
            stack = (observed[column], smooth[column], fitted[column], smooth[column] - smooth_fitted[column])
            for line, image in enumerate(stack):
                _picture(panels[line, column], image, spread if line in _SHARED else _range(image))
            panels[0, column].set_title(f"image {rows[column]}", fontsize=8, weight="normal", loc="center")
        for line, label in enumerate(labels):
            panels[line, 0].set_ylabel(label, fontsize=8)
        _scale_bar(panels[0, 0], observed.shape[-1], pixel_size)
        return figure


def _scaled(predicted: Images, observed: Images) -> Images:
    centred = predicted - predicted.mean()
    power = float((centred**2).sum())
    factor = float((centred * observed).sum()) / power if power > 0 else 0.0
    return np.asarray(factor * centred + observed.mean(), dtype=np.float32)


def _range(values: Images) -> tuple[float, float]:
    low, high = np.percentile(values, (0.5, 99.5))
    return (float(low), float(high)) if high > low else (float(low) - 1.0, float(low) + 1.0)


def _picture(axes: Axes, image: Images, limits: tuple[float, float]) -> None:
    axes.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], origin="lower", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _scale_bar(axes: Axes, box: int, pixel_size: float) -> None:
    """A bar of a round number of Å, about a third of the image wide."""
    target = box * pixel_size / 3
    power = 10 ** np.floor(np.log10(target))
    length = max(step * power for step in (1, 2, 5) if step * power <= target)
    start, height = 0.05 * box, 0.06 * box
    axes.plot([start, start + length / pixel_size], [height, height], color="black", linewidth=4, solid_capstyle="butt")
    axes.plot([start, start + length / pixel_size], [height, height], color="white", linewidth=2, solid_capstyle="butt")
    axes.text(
        start, height + 0.04 * box, f"{length:g} Å", color="white", fontsize=7, weight="bold", va="bottom",
        bbox={"facecolor": "black", "alpha": 0.55, "pad": 1, "linewidth": 0},
    )  # fmt: skip
