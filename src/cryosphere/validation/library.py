"""The structures that a trained model tells apart, as a few of them that stand for all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import roma
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from cryosphere.progress import SILENT, Progress
from cryosphere.training.trained import TrainedModel

Float = NDArray[np.float64]

STRUCTURES = 64  # that stand for all of a model's
ENCODED = 20_000  # images at most whose latents they are chosen from
_ROUNDS = 3  # of superposition on the mean, which changes it


@dataclass(frozen=True)
class Library:
    """K structures (K, R, 3) Å of one model, and the share of its images that each stands for (K,)."""

    structures: Float
    shares: Float

    @property
    def mean(self) -> Float:
        """(R, 3) Å."""
        return np.asarray(np.einsum("k,kri->ri", self.shares, self.structures))


def library(model: TrainedModel, progress: Progress = SILENT) -> Library:
    """The structures at the centres of a model's latents, of the images that it was trained on."""
    rows = np.unique(np.linspace(0, len(model.table) - 1, min(ENCODED, len(model.table))).astype(np.int64))
    latents = model.encode(rows, progress).mean.astype(np.float64)
    count = min(STRUCTURES, len(np.unique(latents, axis=0)))
    found = KMeans(count, n_init=1, random_state=0).fit(latents)
    shares = np.bincount(found.labels_, minlength=count) / len(latents)
    return Library(model.bead_positions(found.cluster_centers_).astype(np.float64), shares)


def in_one_frame(first: Library, second: Library) -> tuple[Library, Library]:
    """Both models' structures without motions of the whole molecule: all superposed on the mean of all.

    A motion of the whole molecule and an error of an image's pose look the same (Kabsch 1976 finds the least one).
    """
    target = 0.5 * (first.mean + second.mean)
    for _ in range(_ROUNDS):
        first, second = (replace(one, structures=superposed(one.structures, target)) for one in (first, second))
        target = 0.5 * (first.mean + second.mean)
    return first, second


def superposed(structures: Float, target: Float) -> Float:
    """Structures (K, R, 3), each moved as a whole so that it lies best on the target (R, 3)."""
    moving = torch.as_tensor(structures)
    turn, shift = roma.rigid_points_registration(moving, torch.as_tensor(target).expand_as(moving))
    return np.asarray((moving @ turn.mT + shift[:, None]).numpy())
