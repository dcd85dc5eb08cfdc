"""The settings that map, model and images suggest, each with its reason in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cryosphere.imaging.grid import ImageGrid, next_fast_even
from cryosphere.maps.model_fsc import THRESHOLD, ModelMapFsc
from cryosphere.maps.resolution import Resolution, resolution_at
from cryosphere.preparation.placement import Candidate
from cryosphere.structures.beads import Beads
from cryosphere.training.build import finest_detail
from cryosphere.training.config import DEFAULT_SEGMENTS, BeadSettings
from cryosphere.training.prepare import default_box

_NYQUIST_SHARE = 0.6  # of the low-pass, at most: the filter's edge takes a tenth, and what lies beyond is left to grow
_COARSEST = 6.0  # Å: Nyquist is never coarser, so that setting the low-pass to null later still means something
_NEARLY_ALL = 0.9  # of the images' own box: then cropping is not worth it
_COARSEST_SHARE = 0.25  # of the images' width: what training accepts as low-pass
_SURE = 3.0  # standard errors from which on the sign of a correlation counts
_ROOM, _MARGIN = 1.2, 10.0  # the mask's radius: a fifth more than the model's, for what moves outwards, and 10 Å


@dataclass(frozen=True)
class Choice:
    """A setting's value, and the reason for it in whole sentences."""

    name: str  # as in the settings, such as "loss.low_pass"
    value: float | int | str | None
    reason: str
    unit: str = ""

    @property
    def shown(self) -> str:
        """The value as it is read: with its unit, and what the settings file calls nothing."""
        return "null" if self.value is None else f"{self.value} {self.unit}".rstrip()


@dataclass(frozen=True)
class Choices:
    """All that is decided for the user."""

    low_pass: Choice
    box: Choice
    contrast: Choice
    segments: Choice
    mask: Choice | None  # None: not asked for
    crossing: Resolution  # where model and map agree by 0.5

    @property
    def listed(self) -> tuple[Choice, ...]:
        """Those there are, in the order of the settings file."""
        made = (self.box, self.contrast, self.segments, self.low_pass, self.mask)
        return tuple(one for one in made if one is not None)


def choose_low_pass(curve: ModelMapFsc, images: ImageGrid) -> tuple[Choice, Resolution]:
    """The low-pass is where the correlation of model and map falls to 0.5, as in the paper; and that crossing."""
    crossing, dipped = _falls_for_good(curve)
    name, finest = "loss.low_pass", finest_detail(BeadSettings().sigma)
    if crossing.kind == "none" or crossing.angstrom > _COARSEST_SHARE * images.length:
        return Choice(
            name,
            None,
            f"Not set, since model and map do not agree to {THRESHOLD:g} in any detail that a low-pass could keep "
            f"({_at(crossing)}). Either the map is too noisy to tell, or the model is not that of the particles: look "
            "at the pictures before training.",
        ), crossing
    if crossing.kind == "at Nyquist" or crossing.angstrom <= max(finest, 2 * images.pixel_size):
        return Choice(
            name,
            None,
            f"Not needed: model and map agree to {crossing}, as far as images or beads go (pixels hold "
            f"{2 * images.pixel_size:.1f} Å, beads {finest:.1f} Å).",
        ), crossing
    value = round(crossing.angstrom, 1)
    return Choice(
        name,
        value,
        f"The correlation of model and map falls to {THRESHOLD:g} there{dipped}: so far the model explains the map; "
        "the paper does likewise. The consensus map of a flexible molecule is blurred where it moves, so its images "
        "may hold more than this says: null compares all detail.",
        "Å",
    ), crossing


def _falls_for_good(curve: ModelMapFsc) -> tuple[Resolution, str]:
    """Where a correlation falls to 0.5 and stays there, apart from single shells; and, in words, whether it had before.

    Where a part of the molecule moves far, some low frequencies agree less than higher ones.
    """
    first = resolution_at(curve.curve, curve.frequencies, THRESHOLD)
    above = curve.curve >= THRESHOLD
    pairs = 1 + np.flatnonzero(above[1:-1] & above[2:])
    if len(pairs) == 0:
        return first, ""
    filled = np.where(np.arange(len(curve.curve)) < pairs[-1], 1.0, curve.curve)
    last = resolution_at(filled, curve.frequencies, THRESHOLD)
    return last, f" for good (it dips below that at {first.angstrom:.0f} Å already)" if last != first else ""


def choose_box(low_pass: float | None, images: ImageGrid) -> Choice:
    """The box is such that Nyquist lies comfortably beyond the low-pass, and never larger than the images."""
    name = "images.box"
    if low_pass is None:
        box, why = default_box(images.box, images.pixel_size)
        return Choice(name, box, f"Without a low-pass, pixels of about 2 Å: {why.removeprefix('box: ')}.")
    nyquist = min(_NYQUIST_SHARE * low_pass, _COARSEST)
    rule = f"Nyquist at {_NYQUIST_SHARE:g} of the low-pass of {low_pass:g} Å"
    if nyquist == _COARSEST:
        rule += f", but never coarser than {_COARSEST:g} Å, so that training without low-pass can still be tried"
    usual, why = default_box(images.box, images.pixel_size)
    if nyquist < 2 * images.length / usual:
        return Choice(name, usual, f"{rule} would be {nyquist:.2f} Å, finer than needed: {why.removeprefix('box: ')}.")
    box = min(next_fast_even(math.ceil(2 * images.length / nyquist)), images.box)
    if box > _NEARLY_ALL * images.box:
        own = f"the images' own {images.box} pixels of {images.pixel_size:.3f} Å, which hold "
        return Choice(name, images.box, f"{rule}: that takes {own}{2 * images.pixel_size:.2f} Å.")
    size = images.length / box
    return Choice(
        name,
        box,
        f"{rule}: {box} pixels of {size:.3f} Å hold {2 * size:.2f} Å; the images' {images.box} pixels of "
        f"{images.pixel_size:.3f} Å are cropped to them in Fourier space.",
    )


def choose_contrast(placed: Candidate, wanted: Literal["auto", "white", "black"] = "auto") -> Choice:
    """Protein is bright where images correlate positively with the placed model's projections; or as is wanted."""
    mean, error = placed.image_correlation, placed.image_error
    name = "images.contrast"
    figures = f"{mean:+.4f} ± {error:.4f} with the model's projections (mean of {len(placed.in_images):,} images)"
    if wanted != "auto":
        bright = "bright" if wanted == "white" else "dark"
        return Choice(name, wanted, f"Protein is {bright}, as given; images, as they are, correlate by {figures}.")
    if abs(mean) < _SURE * error:
        return Choice(
            name,
            "auto",
            f"Cannot be told: images correlate by {figures}, which could be chance. Training will look at more of "
            "them; if you know whether protein is bright, write white, else black.",
        )
    contrast: Literal["white", "black"] = "white" if mean > 0 else "black"
    return Choice(
        name, contrast, f"Protein is {'bright' if mean > 0 else 'dark'}: images, as they are, correlate by {figures}."
    )


def choose_segments(wanted: int | None, beads: Beads) -> Choice:
    """As many as asked for, else the default, at most one for each residue."""
    name = "segmentation.count"
    if wanted is not None:
        return Choice(name, wanted, "Segments at most, as asked for.")
    count = min(DEFAULT_SEGMENTS, len(beads))
    return Choice(
        name,
        count,
        f"Segments at most, for {len(beads):,} residues; the default. Those that move alike are joined, so rather too "
        "many than too few.",
    )


def choose_mask(beads: Beads, images: ImageGrid) -> Choice:
    """The mask is a disc that holds the placed model in every view, and what moves outwards of it."""
    radius = _ROOM * float(np.linalg.norm(beads.positions, axis=1).max()) + _MARGIN
    share = min(round(2 * radius / images.length, 3), 1.0)
    return Choice(
        "loss.mask_radius",
        share,
        f"Of half the box: images are compared within {share * images.length / 2:.0f} Å of the centre, so that "
        f"neighbours do not count: the outermost residue's distance, {100 * (_ROOM - 1):.0f} % more for what moves "
        f"outwards, and {_MARGIN:g} Å. Each step takes longer with it; null is off.",
    )


def _at(crossing: Resolution) -> str:
    return str(crossing) if crossing.kind == "none" else f"only down to {crossing}"
