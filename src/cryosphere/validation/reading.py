"""Which of a model's structures an image shows, read off either set of frequencies by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere.model.batch import Batch
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.progress import SILENT, Progress
from cryosphere.training.data import ParticleLoader, Rows
from cryosphere.validation.library import Library
from cryosphere.validation.likelihood import Scale, View, measure_scale

Float = NDArray[np.float64]

IMAGES_AT_ONCE = 128
_SCALE_SAMPLE = 1024  # images that noise and brightness are measured on


@dataclass(frozen=True)
class Reading:
    """Posterior weights of a library's K structures for n images, rows summing to 1, (n, K) each."""

    of_first: Float  # read off the first set of frequencies
    of_second: Float
    of_both: Float

    @property
    def split(self) -> tuple[Float, Float]:
        """Read off the first and off the second set alone."""
        return self.of_first, self.of_second


class Observer:
    """Holds images against the structures of one model. The images need not be those that it was trained on."""

    def __init__(self, model: HeterogeneityModel, structures: Library, loader: ParticleLoader, rows: Rows) -> None:
        self.model, self.library, self.loader, self.rows = of_one_composition(model), structures, loader, rows
        device = model.positions.device
        self.mean = torch.as_tensor(structures.mean, dtype=torch.float32, device=device)
        self.structures = torch.as_tensor(structures.structures, dtype=torch.float32, device=device)
        spread = np.unique(np.linspace(0, len(rows) - 1, min(_SCALE_SAMPLE, len(rows))).astype(np.int64))
        with torch.no_grad():
            sample = list(self.loader.batches(rows[spread], IMAGES_AT_ONCE))
            self.scale: Scale = measure_scale(self.model, self.mean, sample)

    def views(self, some: Rows | None = None) -> Iterator[tuple[slice, View]]:
        """The images, or `some` of them, a few at a time, with their places among all that are asked for."""
        done = 0
        for batch in self.loader.batches(self.rows if some is None else self.rows[some], IMAGES_AT_ONCE):
            yield slice(done, done + len(batch)), self._view(batch)
            done += len(batch)

    @torch.no_grad()
    def _view(self, batch: Batch) -> View:
        return View(self.model, self.scale, self.mean, batch)

    @torch.no_grad()
    def read(self, progress: Progress = SILENT) -> Reading:
        """How probable each structure is for each image; beforehand it is what the structure's share says."""
        found = np.empty((2, len(self.rows), len(self.structures)))
        with progress.track(len(self.rows), "reading conformations off either half of the frequencies") as advance:
            for places, view in self.views():
                found[:, places] = _all_fits(view, self.structures)
                advance(places.stop - places.start)
        prior = np.log(np.maximum(self.library.shares, 1e-12))
        weights = (softmax(prior + one) for one in (found[0], found[1], found[0] + found[1]))
        return Reading(*weights)


@torch.no_grad()
def of_one_composition(model: HeterogeneityModel) -> HeterogeneityModel:
    """The model with as much of each residue as there is in the middle of its latents, where it learned that.

    Motions alone are judged: what comes and goes is the same in all that is compared.
    """
    if model.decoder.occupancy is None:
        return model
    middle = model.positions.new_zeros(1, model.decoder.latent_dim)
    fixed = deepcopy(model)
    fixed.amplitudes = model.amplitudes_at(middle, model.segmentation(draw=False)).reshape(-1)
    return fixed


def _all_fits(view: View, structures: torch.Tensor) -> Float:
    """Log-probabilities (2, n, K) at both sets."""
    predicted = (view.predictions(one) for one in structures)
    fits = [torch.stack([view.fit(part, which) for which, part in enumerate(both)]) for both in predicted]
    return np.asarray(torch.stack(fits, dim=-1).double().cpu().numpy())


def softmax(values: Float) -> Float:
    """Probabilities from their logarithms, row by row."""
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


@torch.no_grad()
def foretell(
    observer: Observer, places: Sequence[Float], directions: Float, which: int, progress: Progress = SILENT
) -> Float:
    """How well structures explain the set of frequencies that they were not read off, nats, (variants, n).

    places: for each variant, where the images lie along the directions (n, M), from the library's mean. directions
    (M, R, 3) Å. which: the set that the structures were read off (and the pose is).
    """
    device = observer.mean.device
    moves = torch.as_tensor(directions, dtype=torch.float32, device=device)
    given = [torch.as_tensor(one, dtype=torch.float32, device=device) for one in places]
    found = np.empty((len(places), len(observer.rows)))
    with progress.track(len(observer.rows), "foretelling the other half of the frequencies") as advance:
        for images, view in observer.views():
            for number, scores in enumerate(given):
                structures = observer.mean + torch.tensordot(scores[images], moves, dims=1)
                found[number, images] = view.foretold(view.predictions(structures), which).double().cpu().numpy()
            advance(images.stop - images.start)
    return found


@torch.no_grad()
def foretell_fixed(observer: Observer, structure: NDArray[np.floating], which: int) -> Float:
    """The same of one structure (R, 3) Å for all images, (n,)."""
    fixed = torch.as_tensor(structure, dtype=torch.float32, device=observer.mean.device)
    found = np.empty(len(observer.rows))
    for images, view in observer.views():
        found[images] = view.foretold(view.predictions(fixed), which).double().cpu().numpy()
    return found
