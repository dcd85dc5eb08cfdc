"""Where the model should stand: the one displacement in the molecule's frame that all images agree on.

The cross-correlation of each image with its projection says how well it would fit if the projection were moved in the
image. A displacement t of the model moves it by (A t)_xy: the mean over all images of what their cross-correlations
hold there is a function of t, which is searched.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from cryosphere import fourier
from cryosphere.doctor.comparing import Examiner, View
from cryosphere.doctor.readings import Reading
from cryosphere.workers import one_by_one

RADIUS = 24.0  # Å, of the search
STEP = 3.0  # Å, of its coarse part: half the detail that is compared
_FINE_STEPS = (1.0, 0.25)  # Å
_FINER_PIXELS = 2  # of the cross-correlations, against the images: they are read between their pixels
_IMAGES_AT_ONCE = 64


def best_offset(examiner: Examiner, reading: Reading) -> tuple[float, float, float]:
    """Displacement in Å, to be added to that of the reading, under which the images fit best, within RADIUS of it."""
    view = View.of(examiner, reading)
    maps = _cross_correlations(examiner, view)
    size = view.projector.grid.pixel_size / _FINER_PIXELS
    along = view.rotations[:, :2, :] * (1.0 if reading.mirror is None else torch.tensor(reading.mirror))
    best = torch.zeros(1, 3)
    for step, radius in zip((STEP, *_FINE_STEPS), (RADIUS, STEP, _FINE_STEPS[0]), strict=True):
        candidates = best + _ball(radius, step)
        scores = _scores(maps, along / size, candidates)
        best = candidates[int(scores.argmax())][None]
    x, y, z = (best[0].double().numpy() + np.asarray(reading.offset)).round(2).tolist()
    return x, y, z


def starting_places(examiner: Examiner, reading: Reading) -> list[Reading]:
    """Where a model may stand by mistake: anywhere with its own centre meant, or with the box's corner as origin."""
    beads, grid = examiner.beads, examiner.sample.grid
    centre = np.average(beads.positions, axis=0, weights=beads.amplitudes)
    corner = np.full(3, grid.box // 2 * grid.pixel_size)
    places = [np.asarray(reading.offset), -centre, -corner]
    kept: list[NDArray[np.float64]] = []
    for place in places:
        if all(np.linalg.norm(place - other) > RADIUS / 2 for other in kept):
            kept.append(place)
    return [replace(reading, offset=tuple(place.tolist())) for place in kept]


def _cross_correlations(examiner: Examiner, view: View) -> Float[Tensor, "n fine fine"]:
    """Correlation of each image with its projection moved by (x, y), with no move at the centre pixel."""
    sample = examiner.sample
    box = sample.grid.box
    fine = _FINER_PIXELS * box
    once = sample.weights / fourier.parseval_weights(box)
    halves = sample.weights

    def one(some: slice) -> Tensor:
        predicted, observed = view.predicted(some), sample.spectra[some]
        norm = (_power(predicted, halves) * _power(observed, halves)).sqrt().clamp_min(1e-20)
        product = observed * predicted.conj() * (once / norm[:, None, None])
        padded = product.new_zeros(len(product), fine, fine // 2 + 1)
        half = box // 2
        padded[:, :half, : half + 1] = product[:, :half]
        padded[:, fine - half :, : half + 1] = product[:, box - half :]
        moved: Tensor = torch.fft.fftshift(torch.fft.irfft2(padded, s=(fine, fine), norm="forward"), dim=(1, 2))
        return moved

    count = len(sample)
    pieces = [slice(start, min(start + _IMAGES_AT_ONCE, count)) for start in range(0, count, _IMAGES_AT_ONCE)]
    return torch.cat(list(one_by_one(one, pieces)))


def _power(spectra: Tensor, weights: Tensor) -> Tensor:
    return (torch.view_as_real(spectra).square().sum(-1) * weights).sum((1, 2))


def _scores(maps: Tensor, along: Tensor, candidates: Float[Tensor, "m 3"]) -> Float[Tensor, " m"]:
    """Mean over the images of what their maps hold where each displacement moves the model, (m,)."""
    side = maps.shape[-1]
    total = torch.zeros(len(candidates))
    for start in range(0, len(maps), _IMAGES_AT_ONCE):
        some = slice(start, start + _IMAGES_AT_ONCE)
        places = (candidates @ along[some].mT + side // 2 + 0.5) * (2 / side) - 1  # as `grid_sample` counts
        values = grid_sample(maps[some, None], places[:, None], align_corners=False, padding_mode="zeros")
        total += values[:, 0, 0].sum(0)
    return total / len(maps)


def _ball(radius: float, step: float) -> Float[Tensor, "m 3"]:
    """Points of a grid within a radius, the centre first."""
    steps = int(radius / step + 1e-9)
    points = np.array(list(itertools.product(range(-steps, steps + 1), repeat=3))) * step
    lengths = np.linalg.norm(points, axis=1)
    inside = lengths <= radius + 1e-9
    order = np.argsort(lengths[inside], kind="stable")
    return torch.from_numpy(points[inside][order]).float()
