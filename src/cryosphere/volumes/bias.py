"""What of a run's model is in the density of its conformations: compared, and written as tables, maps and a page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.analysis.run import Run
from cryosphere.errors import InputError
from cryosphere.files import replacing, write_text
from cryosphere.maps.files import write_map
from cryosphere.volumes.bandwidth import epanechnikov
from cryosphere.volumes.bias_page import bias_page
from cryosphere.volumes.bias_wording import conclusion
from cryosphere.volumes.distances import structure_distances
from cryosphere.volumes.findings import Conformations, Findings, compare_with_density
from cryosphere.volumes.state import StateVolume

log = logging.getLogger(__name__)

_DRAWN = 16  # structures of images, whose mean density is compared with a state's map
PAGE, TABLE, SEGMENTS = "bias.html", "support.csv", "support_segments.csv"


def write_bias_page(run: Run, states: list[StateVolume], folder: Path, method: str) -> None:
    """Write bias.html, its pictures, support.csv, support_segments.csv and difference_000.mrc … into a folder.

    states: density at some latents of the run, with half-maps; method: how it was made, in words.

    Raises:
        InputError: for no states, or states on different grids.
    """
    found = assess(run, states, method)
    folder.mkdir(parents=True, exist_ok=True)
    for index, seen in enumerate(found.maps):
        write_map(folder / f"difference_{index:03d}.mrc", seen.shown().difference, seen.shells.grid.pixel_size)
    for name, table in ((TABLE, found.residue_table()), (SEGMENTS, found.segment_table())):
        write_text(folder / name, table.to_csv(index=False))
    html, pictures = bias_page(found, run.path.resolve())
    for picture in pictures:
        with replacing(folder / picture.name) as temporary:
            temporary.write_bytes(picture.png)
    write_text(folder / PAGE, html)
    log.info("%s: %s", PAGE, conclusion(found))  # the folder may still have another name


def assess(run: Run, states: Sequence[StateVolume], method: str = "") -> Findings:
    """How much of each residue and segment of the run's model is in the density of some of its conformations.

    Raises:
        InputError: for no states, or states on different grids.
    """
    if not states:
        raise InputError("there is no density to compare the model with: give at least one state")
    if len({state.grid for state in states}) > 1:
        raise InputError("the states' maps differ in box or voxel size; make them anew with the same settings")
    places = np.asarray(run.coordinates(z=np.stack([state.z for state in states])), dtype=np.float64)
    sigma = float(run.model.config.beads.sigma)
    conformations = Conformations(run.segmentation, places, sigma, _structures_of_images(run, states))
    return compare_with_density(conformations, states, float(len(run)), method, run.progress)


def _structures_of_images(run: Run, states: Sequence[StateVolume]) -> list[NDArray[np.float64] | None]:
    """For each state, the structures of some of its images, drawn as often as kernel regression weighs them.

    A map of images within some Å of a conformation shows their mean; a part that moves among them is blurred, which
    must not pass for absent. Where there is no bandwidth, None.
    """
    if all(state.bandwidth is None for state in states):
        return [None] * len(states)
    distances = structure_distances(run, np.stack([state.z for state in states]))
    drawn: list[NDArray[np.float64] | None] = []
    for state, apart in zip(states, distances.T, strict=True):
        rows = None if state.bandwidth is None else images_drawn(apart, state.bandwidth)
        drawn.append(None if rows is None else np.asarray(run.coordinates(z=run.latents[rows]), dtype=np.float64))
    return drawn


def images_drawn(distances: NDArray[np.float32], bandwidth: float) -> NDArray[np.int64] | None:
    """Rows of images as often as a kernel of that bandwidth weighs them at their distances (n,) Å; None: none counts.

    Evenly spaced along the sum of all weights, so nothing is left to chance.
    """
    weights = np.cumsum(epanechnikov(distances, bandwidth))
    if not weights[-1] > 0:
        return None
    at = (np.arange(_DRAWN) + 0.5) / _DRAWN * weights[-1]
    rows: NDArray[np.int64] = np.minimum(np.searchsorted(weights, at), len(weights) - 1)
    return rows
