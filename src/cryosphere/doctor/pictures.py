"""The pictures of the doctor's page."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosphere.doctor.diagnosis import Diagnosis
from cryosphere.doctor.examples import SMOOTH, Examples
from cryosphere.presentation.page import Picture
from cryosphere.presentation.style import MUTED, TRAIN, VALIDATION, new_figure, png, styled

_SCALE_BAR = (20, 50, 100, 200)  # Å
_WORDS = {
    "rotation-transposed": "rotations transposed",
    "hand": "mirrored model",
    "shift-sign": "shifts negated",
    "shift-unit": "shifts in the other unit",
    "voltage": "another voltage",
    "phases-flipped": "phases flipped",
    "image-order": "rows in another order",
    "pixel-size": "another pixel size",
    "model-offset": "model moved",
}


def pictures(diagnosis: Diagnosis) -> list[Picture]:
    """All of them."""
    return [
        examples_picture(diagnosis.examples, changed=bool(diagnosis.faults)),
        readings_picture(diagnosis),
        sizes_picture(diagnosis),
        signal_picture(diagnosis),
    ]


def examples_picture(examples: Examples, *, changed: bool) -> Picture:
    """Images above the projections that they should show."""
    rows = [("image", examples.images), ("model,\nas written", examples.as_written)]
    if changed:
        rows.append(("model,\nbest reading", examples.best))
    with styled():
        count = len(examples.rows)
        figure = new_figure(1.55 * count + 0.8, 1.55 * len(rows) + 0.3)
        panels: Any = figure.subplots(len(rows), count, squeeze=False)
        for line, (name, images) in zip(panels, rows, strict=True):
            for axes, image in zip(line, images, strict=True):
                _grey(axes, image)
            line[0].set_ylabel(name)
        for axes, row in zip(panels[0], examples.rows, strict=True):
            axes.set_title(f"row {row + 1:,}", fontsize=8, fontweight="normal")
        _scale_bar(panels[0][0], examples)
        content = png(figure)
    return Picture(
        "examples.png",
        "Images and what they should show",
        f"Some images of the sample, smoothed to {SMOOTH:.0f} Å, protein bright, above the model's projections with "
        "pose, shift and transfer function of the same rows. In noisy data single images show little; look for the "
        "outline.",
        content,
    )


def _grey(axes: Any, image: NDArray[np.float32]) -> None:
    low, high = np.percentile(image, [1, 99.5])
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-12), origin="lower")
    axes.set(xticks=[], yticks=[])


def _scale_bar(axes: Any, examples: Examples) -> None:
    side = examples.images.shape[-1] * examples.pixel_size
    length = max((one for one in _SCALE_BAR if one < side / 2), default=_SCALE_BAR[0])
    pixels = length / examples.pixel_size
    axes.plot([3, 3 + pixels], [4, 4], color="white", linewidth=2.5)
    axes.text(3, 6, f"{length} Å", color="white", fontsize=8, va="bottom")


def readings_picture(diagnosis: Diagnosis) -> Picture:
    """How well the images fit each reading of the files."""
    best: dict[str, tuple[float, str]] = {}
    for trial in diagnosis.trials:
        name = trial.alternative.fault
        if name not in best or trial.correlation > best[name][0]:
            best[name] = (trial.correlation, _WORDS[name])
    written = next(trial.before for trial in diagnosis.trials if trial.alternative.fault != "pixel-size")
    bars = [(written, "as written"), *best.values()]
    found = {_WORDS[name] for name in diagnosis.faults if name in _WORDS}
    with styled():
        figure = new_figure(7.0, 0.32 * len(bars) + 0.8)
        axes: Any = figure.subplots()
        colours = [TRAIN, *(VALIDATION if word in found else MUTED for _, word in bars[1:])]
        axes.barh([word for _, word in bars], [value for value, _ in bars], color=colours)
        axes.invert_yaxis()
        axes.axvline(written, color=TRAIN, linewidth=1, linestyle="--")
        axes.axvline(0, color="#444444", linewidth=0.8)
        axes.set_xlabel("mean correlation of images and projections")
        content = png(figure)
    return Picture(
        "readings.png",
        "If one thing were written otherwise",
        "Correlation of the images with the model's projections as the files say (blue), and the best that is found if "
        "one thing is taken otherwise. What explains the images best, and far better than the files as they are, is a "
        "fault (orange). Pixel size and model position are searched, so their bars reach the dashed line at least.",
        content,
    )


def sizes_picture(diagnosis: Diagnosis) -> Picture:
    """Correlation against pixel size."""
    sizes, values = np.array(diagnosis.scales).T
    with styled():
        figure = new_figure(5.2, 2.8)
        axes: Any = figure.subplots()
        axes.plot(sizes, values, "o-", color=TRAIN, markersize=4)
        middle = float(sizes[len(sizes) // 2])
        axes.axvline(middle, color=MUTED, linestyle="--", linewidth=1)
        axes.annotate("as written", (middle, 0.02), xycoords=("data", "axes fraction"), xytext=(4, 0),
                      textcoords="offset points", fontsize=8, color=MUTED)  # fmt: skip
        axes.set(xlabel="pixel size, Å", ylabel="mean correlation")
        content = png(figure)
    return Picture(
        "pixel-size.png",
        "Pixel size",
        "Correlation if model and transfer functions are made for another pixel size, in detail finer than 20 Å. The "
        "peak should lie at the size as written.",
        content,
    )


def signal_picture(diagnosis: Diagnosis) -> Picture:
    """Correlation with the model against spatial frequency, with resolution on the axis."""
    signal = diagnosis.signal
    with styled():
        figure = new_figure(5.2, 2.8)
        axes: Any = figure.subplots()
        axes.plot(signal.frequencies, signal.correlation, color=TRAIN, label="with the model")
        chance = 3 * signal.error
        band = {"color": MUTED, "alpha": 0.3, "linewidth": 0, "label": "by chance (3 standard errors)"}
        axes.fill_between(signal.frequencies, -chance, chance, **band)
        axes.axhline(0, color="#444444", linewidth=0.8)
        ticks = [one for one in (50, 20, 15, 12, 10, 8, 7, 6, 5, 4) if 1 / one <= signal.frequencies[-1]]
        axes.set_xticks([1 / one for one in ticks], [str(one) for one in ticks])
        axes.set(xlabel="resolution, Å", ylabel="correlation", xlim=(0, signal.frequencies[-1]))
        axes.legend(loc="upper right")
        content = png(figure)
    return Picture(
        "signal.png",
        "Where the signal is",
        "Correlation of images and projections, shell by shell of spatial frequency, over all images of the sample.",
        content,
    )
