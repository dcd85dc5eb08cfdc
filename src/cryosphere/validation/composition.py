"""What comes and goes instead of moving: the images that a motion's residues give where they stand still but fade.

A model that can only move its residues hides those that an image lacks: it puts them where they harm least. Noise is
not the reason, so independent models do the same and foretell better with it than without. What unmasks such a motion
is that the same residues, at rest but brighter or fainter, foretell the images better still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import logsumexp

from cryosphere.progress import SILENT, Progress
from cryosphere.validation.likelihood import View, unit
from cryosphere.validation.reading import Observer, softmax

Float = NDArray[np.float64]
Rows = NDArray[np.int64]

BRIGHTNESS = np.linspace(0.0, 2.0, 9)  # of the moving residues: 0 where they are missing, 1 as in the model
FINE = np.linspace(0.0, 2.0, 41)  # between which log-probabilities, being smooth, are interpolated
SPREAD = 1.0  # standard deviation of the brightness about 1, as expected before any image is seen
PLACED_BY = 400  # images by which it is chosen where fading residues rest, about
_ROUNDS = 200  # in which the images say how often each brightness occurs


@dataclass(frozen=True)
class Shapes:
    """Structures of n images: a middle (R, 3) Å, and places (n, M) along the principal motions, from there."""

    middle: NDArray[np.floating]
    places: Float


@dataclass(frozen=True)
class Fading:
    """Two explanations of n images: residues that move, and the same residues at rest but of their own brightness.

    directions (M, R, 3) Å: the principal motions. moved: the structures that were read off the images. at_rest: several
    in which the motion in question stands at one place for all images. weights (folds, R): how much each residue
    belongs to what fades, as either fold (n,) of the images is told.
    """

    directions: Float
    moved: Shapes
    at_rest: tuple[Shapes, ...]
    weights: Float
    fold: Rows


def gain_over_fading(observer: Observer, what: Fading, which: int, progress: Progress = SILENT) -> tuple[Float, Float]:
    """How much better moving residues foretell the frequencies that they were not read off than fading ones, (n,) nats.

    Fading ones rest where that explains the images best, and have one brightness for each image, read off set `which`,
    as the pose is. Moving ones have the same brightness in all images: residues that are blurred or misplaced in all
    alike are no sign of coming and going. Second, how much better fading ones do than the same at rest with one
    brightness for all images, (n,): what fading itself is worth.
    """
    every = np.arange(len(observer.rows))
    some = every[:: max(1, len(every) // PLACED_BY)]
    with progress.track(len(some) * len(what.at_rest) + 2 * len(every), "foretelling from what comes and goes") as done:
        tried = [_at_each_brightness(observer, what, one, (some, which), done)[0] for one in what.at_rest]
        at_rest = what.at_rest[int(np.argmax([_evidence(fits) for fits in tried]))]
        (moving, moved), (fading, faded) = (
            _at_each_brightness(observer, what, one, (every, which), done) for one in (what.moved, at_rest)
        )
    together, alike = (
        _between(values, np.full(len(every), _of_all(fits))) for fits, values in ((moving, moved), (fading, faded))
    )
    faded = _between(faded, _of_each(fading))
    return together - faded, faded - alike


@torch.no_grad()
def _at_each_brightness(
    observer: Observer, what: Fading, shapes: Shapes, asked: tuple[Rows, int], done: Callable[[int], object]
) -> tuple[Float, Float]:
    """Log-probabilities (m, values) of what m images show at one set, and of the other, foretold.

    asked: which of the n images, and the set. An image's total brightness is free, as everywhere: what counts is how
    bright the residues are beside the others.
    """
    rows, which = asked
    device = observer.mean.device
    moves, middle, places, weights = (
        torch.as_tensor(one, dtype=torch.float32, device=device)
        for one in (what.directions, shapes.middle, shapes.places[rows], what.weights)
    )
    fold = torch.as_tensor(what.fold[rows], device=device)
    found = np.empty((2, len(rows), len(BRIGHTNESS)))
    for images, view in observer.views(rows):
        structures = middle + torch.tensordot(places[images], moves, dims=1)
        found[:, images] = _one_view(view, structures, weights[fold[images]], which)
        done(images.stop - images.start)
    return found[0], found[1]


def _one_view(view: View, structures: torch.Tensor, fading: torch.Tensor, which: int) -> Float:
    whole, part = view.shown(structures), view.shown(structures, fading)
    fits, foretold = [], []
    for value in BRIGHTNESS:
        parts = zip(whole, part, view.scale.brightness, strict=True)
        first, second = (unit(all_ + (float(value) - 1.0) * some)[0] * usual for all_, some, usual in parts)
        fits.append(view.fit((first, second)[which], which))
        foretold.append(view.foretold((first, second), which))
    return np.stack([torch.stack(one, dim=1).double().cpu().numpy() for one in (fits, foretold)])


def fading_weights(moves: Float) -> Float:
    """How much residues belong to the part that a motion would hide, 0 to 1, from how far they move (…, R).

    Those that move less than a quarter as far as the furthest do not, those that move three quarters as far do.
    """
    share = moves / np.maximum(moves.max(axis=-1, keepdims=True), 1e-12)
    return np.asarray(np.clip(2.0 * share - 0.5, 0.0, 1.0))


def _of_all(fits: Float) -> float:
    """The brightness that explains all images best, from log-probabilities (n, values)."""
    return float(FINE[np.argmax(CubicSpline(BRIGHTNESS, fits.sum(axis=0))(FINE))])


def _of_each(fits: Float) -> Float:
    """The expected brightness in each image (n,), from log-probabilities (n, values)."""
    return np.asarray(softmax(_weighed(fits)) @ FINE)


def _evidence(fits: Float) -> float:
    """Mean log-probability of images over all brightnesses, from those of each (n, values)."""
    return float(logsumexp(_weighed(fits), axis=1).mean())


def _weighed(fits: Float) -> Float:
    """Log-probabilities of images together with each of the FINE brightnesses, as often as these occur.

    How often is found by expectation–maximisation (Dempster, Laird & Rubin 1977): a guess that is too wide would make
    images follow their noise, and fading a worse explanation than it is.
    """
    fine = CubicSpline(BRIGHTNESS, fits, axis=1)(FINE)
    prior = np.exp(-0.5 * ((FINE - 1.0) / SPREAD) ** 2)
    prior /= prior.sum()
    for _ in range(_ROUNDS):
        prior = softmax(fine + np.log(np.maximum(prior, 1e-12))).mean(axis=0)
    return np.asarray(fine + np.log(np.maximum(prior, 1e-12)))


def _between(values: Float, places: Float) -> Float:
    """Values (n, values) of each image at its own brightness (n,), by cubic splines."""
    spline = CubicSpline(BRIGHTNESS, values, axis=1)
    step = np.clip(np.searchsorted(BRIGHTNESS, places, side="right") - 1, 0, len(BRIGHTNESS) - 2)
    offset, image = places - BRIGHTNESS[step], np.arange(len(values))
    powers = np.stack([offset**3, offset**2, offset, np.ones_like(offset)])
    return np.asarray((spline.c[:, step, image] * powers).sum(axis=0))
