"""The pictures of a preparation: up to which detail model and map agree, where the model lies, what the images say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosphere.maps.density import AtomDensity
from cryosphere.maps.density_map import DensityMap
from cryosphere.maps.model_fsc import THRESHOLD
from cryosphere.preparation.result import Preparation
from cryosphere.presentation.page import Picture
from cryosphere.presentation.style import MUTED, TRAIN, VALIDATION, new_figure, png, styled
from cryosphere.structures.model import AtomicModel

_HALVES = "#009E73"
_OUTLINE_RESOLUTION = 10.0  # Å, at least 3 voxels: of the density whose border is drawn
_OUTLINE_LEVEL = 0.15  # of that density's highest value
_BARS = (10, 20, 50, 100, 200, 500)  # Å
_NAMES = {
    "as it stood": "as it stood",
    "as it stood, refined": "as it stood,\nrefined",
    "found by search": "found by search",
    "runner-up": "runner-up",
    "other hand": "mirror image",
}
_MOST_RUNNERS_UP = 2
_TICKS = (100, 50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 3.5, 3)  # Å
_TICK_ROOM = 0.06  # of the axis, that the first tick needs


def pictures(found: Preparation) -> list[Picture]:
    """All of them."""
    return [agreement_picture(found), sections_picture(found), images_picture(found)]


def agreement_picture(found: Preparation) -> Picture:
    """Correlation of model and map against detail, with the low-pass and the box that follow from it."""
    after, halves = found.curve, found.consensus.reconstruction
    with styled():
        figure = new_figure(7.2, 4.2)
        axes: Any = figure.subplots()
        if found.curve_before is not None:
            axes.plot(after.frequencies[1:], found.curve_before.curve[1:], color=MUTED, label="model as it stood, map")
        axes.plot(after.frequencies[1:], after.curve[1:], color=TRAIN, linewidth=2, label="placed model, map")
        if halves is not None:
            style = {"color": _HALVES, "linestyle": "--", "label": "half-maps, corrected for the mask"}
            axes.plot(halves.curves.frequencies[1:], halves.curves.corrected[1:], **style)
        axes.axhline(THRESHOLD, color="black", linewidth=0.8, linestyle=":")
        axes.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        low_pass, nyquist = found.choices.low_pass.value, 2 * found.pixel_size
        right = max(float(after.frequencies[-1]), 1.02 / nyquist)
        if low_pass is not None:
            axes.axvline(1 / float(low_pass), color=VALIDATION, label=f"low-pass: {low_pass:g} Å")
        label = f"Nyquist of the box of {found.choices.box.value}: {nyquist:.2f} Å"
        axes.axvline(1 / nyquist, color="#CC79A7", linestyle="-.", label=label)
        axes.set_xlim(0, right)
        axes.set_ylim(min(-0.1, float(after.curve[1:].min()) - 0.02), 1.05)
        ticks = [one for one in _TICKS if _TICK_ROOM <= 1 / one / right <= 1]
        axes.set_xticks([1 / one for one in ticks], [f"{one:g}" for one in ticks])
        axes.set(xlabel="resolution (Å)", ylabel="Fourier shell correlation")
        figure.legend(loc="outside lower center", ncols=2, fontsize=8.5)
        content = png(figure)
    said = "does not fall to" if found.choices.low_pass.value is None else "falls to"
    return Picture(
        "fsc.png",
        "Up to which detail the model explains the map",
        f"Correlation of the model's density with the map in a soft mask around the model, shell by shell. Where it "
        f"{said} {THRESHOLD:g} (dotted) decides the low-pass. A flexible molecule's map is blurred where it moves, so "
        "the single images may hold more detail than this.",
        content,
    )


def sections_picture(found: Preparation) -> Picture:
    """Sections of the map with the model's outline, as it stood and as it was placed."""
    density_map = found.consensus.density_map
    places = found.placement.chosen.model.positions.mean(axis=0) - density_map.origin
    voxels = np.clip(np.round(places / density_map.pixel_size).astype(int), 0, density_map.shape[0] - 1)
    rows = [("as it stood", found.placement.before.model), ("placed", found.placement.chosen.model)]
    low, high = np.percentile(density_map.values, [1, 99.9])
    with styled():
        figure = new_figure(9.0, 6.4)
        for line, (name, model) in zip(figure.subplots(2, 3), rows, strict=True):
            outline = _outline(model, density_map)
            for axes, (direction, cut) in zip(line, _cuts(voxels), strict=True):
                axes.imshow(density_map.values[cut], cmap="gray", origin="lower", vmin=low, vmax=max(high, low + 1e-12))
                section = outline[cut]
                if section.max() > _OUTLINE_LEVEL:
                    axes.contour(section, levels=[_OUTLINE_LEVEL], colors=[VALIDATION], linewidths=1.3)
                else:
                    axes.text(0.5, 0.04, "the model is not here", color="white", ha="center", fontsize=8,
                              transform=axes.transAxes)  # fmt: skip
                axes.set(xticks=[], yticks=[], title=f"{name}, {direction}")
        _add_scale_bar(line[0], density_map)
        content = png(figure)
    return Picture(
        "sections.png",
        "The model in the map",
        f"Sections of the map through the centre of the placed model, protein bright, with the model's outline at "
        f"{_outline_resolution(density_map):.0f} Å. Below, outline and density should have the same shape.",
        content,
    )


def _cuts(voxels: NDArray[np.int64]) -> list[tuple[str, Any]]:
    x, y, z = (int(voxel) for voxel in voxels)
    everything = slice(None)
    return [
        ("seen along z", (z, everything, everything)),
        ("seen along y", (everything, y, everything)),
        ("seen along x", (everything, everything, x)),
    ]


def _outline_resolution(density_map: DensityMap) -> float:
    return max(_OUTLINE_RESOLUTION, 3 * density_map.pixel_size)


def _outline(model: AtomicModel, density_map: DensityMap) -> NDArray[np.float32]:
    """Density of a model, low-passed, 1 at its highest; 0 everywhere where it lies outside the map."""
    density = AtomDensity(model, density_map.grid, _outline_resolution(density_map))
    values = density.volume(model.positions - density_map.centre)
    return values / max(float(values.max()), 1e-12)


def _add_scale_bar(axes: Any, density_map: DensityMap) -> None:
    box, voxel = density_map.grid.box, density_map.pixel_size
    length = max((one for one in _BARS if one <= 0.3 * box * voxel), default=_BARS[0])
    start, height = 0.05 * box, 0.06 * box
    axes.plot([start, start + length / voxel], [height, height], color="white", linewidth=2.5, solid_capstyle="butt")
    axes.text(start, height + 0.025 * box, f"{length:g} Å", color="white", fontsize=8, va="bottom")


def images_picture(found: Preparation) -> Picture:
    """How well images agree with each placement's projections."""
    placement = found.placement
    runners_up = [one for one in placement.others if one.kind == "runner-up"][:_MOST_RUNNERS_UP]
    shown = [placement.before, placement.chosen]
    shown += [one for one in placement.others if one.kind != "runner-up"] + runners_up
    if placement.other_hand is not None:
        shown.append(placement.other_hand)
    sign = 1.0 if placement.chosen.image_correlation >= 0 else -1.0
    names = [_NAMES[one.kind] + ("\n(chosen)" if one is placement.chosen else "") for one in shown]
    places = np.arange(len(shown))
    with styled():
        figure = new_figure(7.2, 0.5 * len(shown) + 0.8)
        axes: Any = figure.subplots()
        values = [sign * one.image_correlation for one in shown]
        errors = [2 * one.image_error if np.isfinite(one.image_error) else 0.0 for one in shown]
        colours = [TRAIN if one is placement.chosen else MUTED for one in shown]
        axes.barh(places, values, xerr=errors, color=colours, error_kw={"elinewidth": 1, "capsize": 2})
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.axvline(0, color="#444444", linewidth=0.8)
        axes.set_xlabel("mean correlation of images and projections (bars: two standard errors)")
        content = png(figure)
    return Picture(
        "images.png",
        "What the images say",
        f"Projections of the model in each placement, with pose and transfer function of the image, compared with "
        f"{len(placement.chosen.in_images):,} images, noise whitened"
        + ("" if sign > 0 else " and signs turned, since protein is dark in them")
        + ". The map is an average; these are the data.",
        content,
    )
