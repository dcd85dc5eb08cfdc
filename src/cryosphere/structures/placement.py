"""Whether an atomic model lies where the images are: in the box, around its centre."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np

from cryosphere.errors import StructureError
from cryosphere.structures.model import AtomicModel

logger = logging.getLogger(__name__)

_TOLERATED = 0.1  # of the beads
_FAR_OFF = 15.0  # Å of the model's centre from the box centre, and
_FAR_OFF_IN_RADII = 0.5  # of its radius of gyration: farther than both is told as a warning


def check_inside_box(model: AtomicModel, box: int, pixel_size: float, *, source: Path | None = None) -> None:
    """Make sure that the images show the model: beads farther from the origin than half the box leave it in some view.

    box: pixels of the images' side; pixel_size in Å. The origin of the model's frame is the centre of the box.
    A few beads outside give a warning, and so does a centre far from the box centre; its offset is logged.
    source: the model's file, for messages.

    Raises StructureError when more than a tenth of the beads lie outside, with the offset of the model's centre (its
    centre of electrons) and the shift that would centre it, or, where centring cannot help, the box it would need.
    """
    half = box * pixel_size / 2.0
    positions, amplitudes = model.beads.positions, model.beads.amplitudes
    outside = np.linalg.norm(positions, axis=1) > half
    centre = np.average(positions, axis=0, weights=amplitudes)
    offset = float(np.linalg.norm(centre))
    radii = np.linalg.norm(positions - centre, axis=1)
    shift = ", ".join(f"{0.0 - round(value, 1):.1f}" for value in centre.tolist())
    name = model.name if source is None else str(source)
    if not outside.any():
        gyration = float(np.sqrt(np.average(np.square(radii), weights=amplitudes)))
        _report_offset(name, offset, gyration, shift)
        return
    found = (
        f"{name}: {int(outside.sum())} of {len(outside)} beads lie outside the box of {box} pixels of "
        f"{pixel_size:g} Å (farther than {half:.0f} Å from its centre)"
    )
    if outside.mean() <= _TOLERATED:
        logger.warning("%s; the model's centre is %.1f Å off, a shift by (%s) Å would centre it", found, offset, shift)
        return
    if (radii > half).mean() > _TOLERATED:
        needed = math.ceil(2.0 * float(np.quantile(radii, 1.0 - _TOLERATED)) / pixel_size)
        raise StructureError(
            f"{found}; even a centred model would need a box of {needed} pixels. Is this the model of these particles, "
            f"and is the pixel size right? The model's centre is {offset:.1f} Å off; a shift by ({shift}) Å centres it"
        )
    raise StructureError(
        f"{found}: the model's centre is {offset:.1f} Å away from it. Shift the model by ({shift}) Å to centre it, or "
        "fit it into a map of these particles first"
    )


def _report_offset(name: str, offset: float, gyration: float, shift: str) -> None:
    if offset <= max(_FAR_OFF, _FAR_OFF_IN_RADII * gyration):
        logger.info("%s: the model's centre is %.1f Å from the box centre", name, offset)
        return
    logger.warning(
        "%s: the model's centre is %.1f Å from the box centre (its radius of gyration is %.0f Å). Is it placed where "
        "the particles are? A shift by (%s) Å would centre it",
        *(name, offset, gyration, shift),
    )
