"""How sure structures are: the spread of latents carried to the residues, and the structures' own error added."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from cryosphere.progress import SILENT, Progress
from cryosphere.structures.model import AtomicModel
from cryosphere.training.data import Rows
from cryosphere.training.displacements import stretches, wishes
from cryosphere.training.model_error import ModelError, fit
from cryosphere.training.trained import TrainedModel

log = logging.getLogger(__name__)

GROUPS = 5  # of images alike in conformation: fewer know more each, more tell conformations apart
ASKED = 1000  # images, at most
FEWEST = 100  # images; fewer do not say how wrong structures are


class MakesStructures(Protocol):
    """A trained model, as far as structures at latents go."""

    atomic_model: AtomicModel

    def bead_positions(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Residue positions, (n, residues, 3) Å, for latents (n, L)."""
        ...


def opposite_structures(
    model: MakesStructures, mean: NDArray[np.floating], sd: NDArray[np.floating]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Structures one standard deviation to either side of the latents `mean`, (n, R, 3) Å, dimension by dimension.

    Half the difference of a pair is the standard deviation that this dimension brings: of a figure of the structure as
    of a residue's place, and the squares of all dimensions add up. A difference over the whole spread, not the
    derivative: a latent dimension that the images leave open has the prior's spread, over which nothing is linear.
    """
    for k in np.flatnonzero(sd.any(axis=0)):
        step = np.zeros_like(sd)
        step[:, k] = sd[:, k]
        yield tuple(model.bead_positions(np.asarray(mean + s * step, dtype=np.float32)) for s in (1, -1))  # type: ignore[misc]


def residue_sd(
    model: MakesStructures,
    mean: NDArray[np.floating],
    sd: NDArray[np.floating],
    error: ModelError | None,
    *,
    own: bool = True,
) -> NDArray[np.float32]:
    """Standard deviation of every residue's place in Å, (n, R), for posteriors of latents (n, L).

    The square root of the mean squared distance from where it is shown (all three coordinates together). Holds three
    numbers for each residue of the n structures: ask for some hundred at a time. Without `own`, of what latents leave
    open alone, not of the structures' own error.
    """
    total = np.zeros((len(mean), len(model.atomic_model.beads)))
    for after, before in opposite_structures(model, mean, widened(sd, error)):
        total += np.square((after - before) / 2, dtype=np.float64).sum(axis=-1)
    if own and error is not None:
        total += error.residue_variance
    return np.sqrt(total).astype(np.float32)


def widened(sd: NDArray[np.floating], error: ModelError | None) -> NDArray[np.float64]:
    """Standard deviations of latents where noise is stronger, or less white, than the likelihood takes it to be.

    The likelihood's share of the posterior's precision, 1 / sd² - 1, is divided by its dispersion; the prior's, 1,
    stays.
    """
    variance = np.square(np.asarray(sd, dtype=np.float64))
    dispersion = 1.0 if error is None else error.dispersion
    wider = variance * dispersion / (1 + variance * (dispersion - 1))
    return np.asarray(np.sqrt(np.where(variance < 1, wider, variance)))


def model_error_of(model: TrainedModel, progress: Progress = SILENT) -> ModelError | None:
    """The error of a run's structures, found once and kept in its folder; None where images are too few to tell.

    Held-out images are asked, or all where none were held out. All processes of a job ask together.
    """
    path, step = model.run.model_error, model.step
    with model.world.together():
        known = ModelError.load(path) if path.is_file() else None
    if known is not None and known.step == step:
        return known
    rows = _asked(model)
    if len(rows) < FEWEST:
        log.warning(
            "%d images are too few to tell how far structures are off beyond what their latents leave open: "
            "standard deviations of images' structures are of the latents alone, and structures at other latents have "
            "none, but the input's B-factors",
            len(rows),
        )
        return None
    latents = model.encode(rows).mean
    found = _find(model, rows, latents, progress)
    with model.world.together():
        if model.world.is_first:
            _keep(found, model, step)
    return found


def _asked(model: TrainedModel) -> Rows:
    rows = model.validation_rows if len(model.validation_rows) else np.arange(len(model.table))
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(ASKED, len(rows))).astype(np.int64))]


def _find(model: TrainedModel, rows: Rows, latents: NDArray[np.float32], progress: Progress) -> ModelError:
    beads = model.atomic_model.beads
    apart = len(np.unique(latents, axis=0))
    group = KMeans(min(GROUPS, apart), n_init=2, random_state=0).fit_predict(latents).astype(np.int64)
    stretch = stretches(beads.chain)
    return fit(wishes(model.network, model.loader, rows, latents, (stretch, group), progress), beads.positions)


def _keep(found: ModelError, model: TrainedModel, step: int) -> None:
    try:
        ModelError(**(vars(found) | {"step": step})).save(model.run.model_error)
    except OSError as problem:  # a run that is read-only can be looked at all the same
        log.warning("%s cannot be written (%s): it is found anew the next time", model.run.model_error, problem)
