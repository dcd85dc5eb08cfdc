"""How far structures of a trained model lie from what the images show, at best: found from the images themselves.

The posterior of a latent says how well an image settles where on the learned motion its molecule is. It does not say
that the learned structures are off: segments are rigid, the base structure has errors, training ends. Images know. If
a stretch of residues lies 1 Å from where it should, every image's likelihood rises in that direction, by little, and
many images of nearly the same conformation together by much. So images of nearly the same conformation that training
did not see are asked, all together, which displacements of short stretches of residues they would prefer (`wishes`).
What they wish for is the structures' error plus noise of known size. Its covariance is fitted by maximum likelihood,
with an error correlated over CORRELATED Å to begin with (`fit`). No truth of a simulation takes part, but how many
groups are asked, and PSEUDO_GROUPS, were settled after seeing how often adenylate kinase's truth lay within.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from cryosphere.errors import RunError
from cryosphere.files import replacing
from cryosphere.training.displacements import Wishes

Float = NDArray[np.float64]

CORRELATED = (4.0, 8.0, 16.0, 32.0)  # Å: over which of these errors of neighbours are alike, the images decide
SIZES = np.geomspace(0.03, 4.0, 40)  # Å per coordinate, from which the error's size is chosen
PSEUDO_GROUPS = 5  # of images: what the simple covariance weighs against the one that the images ask for
AT_MOST = 20  # residues that stand for a stretch
ROUNDS = 20  # of expectation and maximisation; the estimate has settled to a per cent after half of them


@dataclass(frozen=True)
class ModelError:
    """Errors of structures that are no uncertainty of the latent: a covariance, the same for all images.

    Stretches of residues move by any mixture of `modes`, each with a weight of standard deviation 1; residues move
    about the stretch they are in by `within`.
    """

    stretch: NDArray[np.int64]  # (R,) which stretch a residue is in
    modes: Float  # (M, stretches, 3) Å
    within: Float  # (stretches,) Å², variance of each coordinate
    images: int  # that were asked
    dispersion: float  # of the images' likelihood: its slopes' variance over what white noise would give
    step: int = -1  # of training, at which it was found

    @property
    def residue_variance(self) -> Float:
        """Mean squared error of every residue in Å², (R,): of the three coordinates together."""
        return np.asarray((np.square(self.modes).sum(axis=(0, 2)) + 3 * self.within)[self.stretch])

    def covariances(self) -> Float:
        """Of every residue's error, (R, 3, 3) Å²."""
        own = np.einsum("msi,msj->sij", self.modes, self.modes) + self.within[:, None, None] * np.eye(3)
        return np.asarray(own[self.stretch])

    def displacements(self) -> Iterator[Float]:
        """Displacements (R, 3) Å of all residues, mode by mode: their squares add up."""
        return (mode[self.stretch] for mode in self.modes)

    def save(self, path: Path) -> None:
        """Write a NumPy archive without pickled objects."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **vars(self))

    @classmethod
    def load(cls, path: Path) -> ModelError:
        """Read it back.

        Raises:
            RunError: if the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                stretch, modes, within = (archive[name] for name in ("stretch", "modes", "within"))
                images, step = int(archive["images"]), int(archive["step"])
                return cls(stretch, modes, within, images, float(archive["dispersion"]), step)
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise RunError(f"{path} is damaged: {error}; delete it, and it is made again") from None


def fit(wishes: Wishes, positions: Float) -> ModelError:
    """The covariance of errors that explains what groups of images wish for (empirical Bayes).

    First a covariance τ² exp(-distance / ℓ), alike in all directions, whose τ and ℓ (of CORRELATED) make the wishes
    most probable. Then expectation and maximisation from there (Dempster, Laird and Rubin 1977), with the simple
    covariance as prior that weighs as much as PSEUDO_GROUPS groups of images: what the images know goes over into the
    estimate, and where they know nothing the simple one stays.

    positions (R, 3): residues of the base structure.
    """
    slopes, information = wishes.slopes / wishes.dispersion, wishes.information / wishes.dispersion
    length, size = _simple(slopes, information, wishes.stretch, positions)
    alike = _alike(wishes.stretch, positions, length)
    simple = np.asarray(size**2 * np.kron(alike, np.eye(3)), dtype=np.float64)
    covariance: Float = simple
    share = wishes.images / wishes.images.sum()
    for _ in range(ROUNDS):
        root = _root(covariance)
        rest = root @ np.linalg.inv(np.eye(len(root)) + root.T @ information @ root) @ root.T
        found = np.einsum("kij,kj->ki", rest, slopes)
        asked = np.einsum("k,kij->ij", share, found[:, :, None] * found[:, None] + rest)
        covariance = np.asarray((PSEUDO_GROUPS * simple + len(slopes) * asked) / (PSEUDO_GROUPS + len(slopes)))
    return ModelError(
        stretch=wishes.stretch,
        modes=_root(covariance).T.reshape(len(covariance), -1, 3),
        within=size**2 * np.clip(1.0 - np.diag(alike), 0.0, None),
        images=int(wishes.images.sum()),
        dispersion=wishes.dispersion,
    )


def _simple(slopes: Float, information: Float, stretch: NDArray[np.int64], positions: Float) -> tuple[float, float]:
    """Over how many Å errors are alike, and how large they are (Å per coordinate): the most probable pair."""
    found = []
    for length in CORRELATED:
        root = np.kron(_root(_alike(stretch, positions, length)), np.eye(3))
        values, vectors = np.linalg.eigh(root.T @ information @ root)
        values = np.clip(values, 0.0, None)[..., None] * SIZES**2
        squares = np.square(np.einsum("kij,ki->kj", vectors, slopes @ root))[..., None] * SIZES**2
        likelihood = 0.5 * (squares / (1 + values) - np.log1p(values)).sum(axis=(0, 1))
        best = int(likelihood.argmax())
        found.append((float(likelihood[best]), length, float(SIZES[best])))
    return max(found)[1:]


def _alike(stretch: NDArray[np.int64], positions: Float, length: float) -> Float:
    """Correlation of the mean displacements of stretches, where that of residues falls as exp(-distance / length).

    Its diagonal, below 1, is the share of a residue's variance that all of its stretch has together.
    """
    some = _few(stretch)
    gaps = cdist(positions[some], positions[some])
    belongs = (stretch[some][:, None] == np.arange(stretch.max() + 1)).astype(np.float64)
    belongs /= belongs.sum(axis=0)
    return np.asarray(belongs.T @ np.exp(-gaps / length) @ belongs)


def _few(stretch: NDArray[np.int64]) -> NDArray[np.int64]:
    """Residues that stand for their stretches: at most AT_MOST of each, evenly spread."""
    starts = np.searchsorted(stretch, np.arange(stretch.max() + 2))
    place = np.arange(len(stretch)) - starts[stretch]
    length = np.diff(starts)[stretch]
    chosen = (place * AT_MOST) // length != ((place - 1) * AT_MOST) // length
    return np.flatnonzero(chosen | (place == 0))


def _root(covariance: NDArray[np.floating]) -> Float:
    """A matrix whose product with its transpose is this one."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return np.asarray(vectors * np.sqrt(np.clip(values, 1e-12 * values.max(), None)))
