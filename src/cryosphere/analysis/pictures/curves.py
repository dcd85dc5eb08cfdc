"""What training reported, epoch by epoch, and how the segments' motions are distributed over the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cryosphere.presentation.style import TRAIN, VALIDATION, new_figure, segment_colours, styled

Float = NDArray[np.float64]
_GAINS = ("train_gain", "validation_gain")
_KL = {
    "kl_latent": ("KL of the latents", "KL divergence (nats per image)"),
    "kl_segments": ("KL of the segmentation", "KL divergence (nats)"),
}


def training_curves(
    columns: Mapping[str, Float], base: float | None = None, base_label: str = "undeformed model"
) -> Figure:
    """Correlation, loss and KL terms per epoch, (epochs,) each, keyed as in metrics.csv; absent ones are left out.

    `base`: correlation of images with the undeformed model, drawn as a line to beat; `base_label` says of which.
    """
    epoch = columns["epoch"]
    losses = {name: values for name, values in columns.items() if name.endswith("_loss") and np.isfinite(values).any()}
    kl = {name: title for name, title in _KL.items() if name in columns and np.isfinite(columns[name]).any()}
    gains = {name: columns[name] for name in _GAINS if name in columns and np.isfinite(columns[name]).any()}
    others = bool(losses) + len(kl) + bool(gains)
    with styled():
        figure = new_figure(max(11.0, 3.6 + 2.5 * others), 3.2)
        panels = list(np.atleast_1d(figure.subplots(1, 1 + others, width_ratios=(1.5, *[1.0] * others))))
        _correlation(panels[0], epoch, columns)
        if base is not None:
            panels[0].axhline(base, color="#555555", linestyle="--", linewidth=1.0, label=base_label)
        if panels[0].get_legend_handles_labels()[0]:
            panels[0].legend(fontsize=7.5)
        position = 1
        if gains:
            _terms(panels[position], epoch, gains, "Gain over one structure", "nats per image")
            panels[position].axhline(0.0, color="#555555", linestyle="--", linewidth=1.0)
            position += 1
        if losses:
            _terms(panels[position], epoch, losses, "Loss", "loss (no unit)")
            position += 1
        for axes, (name, (title, label)) in zip(panels[position:], kl.items(), strict=True):
            _terms(axes, epoch, {name: columns[name]}, title, label)
        for axes in panels:
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
            if len(epoch) == 1:
                axes.set_xlim(epoch[0] - 1, epoch[0] + 1)
        return figure


def _correlation(axes: Axes, epoch: Float, columns: Mapping[str, Float]) -> None:
    for name, colour, label in (
        ("train_mean_correlation", TRAIN, "training images"),
        ("validation_correlation", VALIDATION, "held-out images"),
    ):
        if name in columns and np.isfinite(columns[name]).any():
            axes.plot(
                epoch,
                columns[name],
                marker="o",
                color=colour,
                markersize=_marker_size(epoch),
                linewidth=1.4,
                label=label,
            )
    axes.set_title("Correlation with the images")
    axes.set_ylabel("mean correlation")
    axes.margins(y=0.15)


def _marker_size(epoch: Float) -> float:
    return 3.0 if len(epoch) <= 60 else 0.0


def _terms(axes: Axes, epoch: Float, terms: Mapping[str, Float], title: str, label: str) -> None:
    for (name, values), colour, marker in zip(
        terms.items(), (TRAIN, VALIDATION, "#009E73", "#CC79A7"), "os^d", strict=False
    ):
        axes.plot(
            epoch,
            values,
            marker=marker,
            color=colour,
            markersize=_marker_size(epoch),
            linewidth=1.4,
            label=name.replace("_", " "),
        )
    axes.set_title(title)
    axes.set_ylabel(label)
    if len(terms) > 1:
        axes.legend(fontsize=7.5)


def motion_distributions(
    angles: Float, displacements: Float, segment_sizes: NDArray[np.int64], reference: Sequence[int]
) -> Figure:
    """Rotation angle and displacement of every used segment over the images, relative to the segments `reference`.

    An empty `reference` stands for the residues held fixed.

    `angles` and `displacements` (5, N): 5th, 25th, 50th, 75th and 95th percentiles, in degrees and Å.
    """
    still = " + ".join(f"S{s + 1}" for s in reference) or "the fixed part"
    used = [int(s) for s in np.flatnonzero(segment_sizes) if s not in reference]
    colours = segment_colours(segment_sizes)
    with styled():
        figure = new_figure(9.5, 1.4 + 0.26 * max(len(used), 1))
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, values, label in (
            (left, angles, "rotation (degrees)"),
            (right, displacements, "displacement of the segment's centre (Å)"),
        ):
            if used:
                _boxes(axes, values[:, used], colours[used])
            axes.set_xlim(left=0)
            axes.set_xlabel(label)
        left.set_yticks(range(len(used)), [f"S{s + 1}" for s in used])
        left.set_ylim(max(len(used), 1) - 0.4, -0.6)
        left.set_ylabel("segment")
        figure.suptitle(
            f"Motion relative to {still}: median, middle half (box), 5th to 95th percentile (line)",
            x=0.01, ha="left", fontsize=10, weight="bold",
        )  # fmt: skip
        return figure


def _boxes(axes: Axes, percentiles: Float, colours: Float) -> None:
    keys = ("whislo", "q1", "med", "q3", "whishi")
    stats: list[dict[str, Any]] = [dict(zip(keys, map(float, column), strict=True)) for column in percentiles.T]
    drawn = axes.bxp(
        stats, positions=range(len(stats)), orientation="horizontal", patch_artist=True, widths=0.6, showfliers=False,
        medianprops={"color": "black", "linewidth": 1.4}, boxprops={"linewidth": 0.6}, manage_ticks=False,
    )  # fmt: skip
    for box, colour in zip(drawn["boxes"], colours, strict=True):
        box.set_facecolor(colour)
