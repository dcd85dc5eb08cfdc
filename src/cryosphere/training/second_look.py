"""A second look at images whose encoder may have taken one conformation for another.

The encoder answers in one pass, and where a protein moves far it can name the wrong side of the motion with
confidence. The trained decoder knows better: it can show what any conformation of the data set would look like under an
image's own pose. Where one of them explains the image better than the encoder's answer, by more than chance among so
many allows, it becomes the starting point of a few steps uphill, whose end takes the answer's place.
"""

from __future__ import annotations

import logging
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from cryosphere.errors import RunError
from cryosphere.files import replacing
from cryosphere.model.batch import Batch
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.progress import SILENT, Progress
from cryosphere.training.data import ParticleLoader, Rows
from cryosphere.training.latent_posterior import LatentPosterior, posteriors

log = logging.getLogger(__name__)

CONFORMATIONS = 24  # that every image is compared with
MARGIN = 3.0 + math.log(CONFORMATIONS)  # nats by which one must explain an image better than the encoder's answer
FIRST = 1000  # images looked at first
WORTH_IT = 0.01  # of them wrong: below, the others are taken for right; chance alone can give some tenths of a per cent
CLUSTERED = 20_000  # latents at most from which the conformations are chosen


@dataclass(frozen=True)
class SecondLook:
    """Posteriors that replace the encoder's."""

    rows: NDArray[np.int64]  # (m,) images, ascending
    mean: NDArray[np.float32]  # (m, latent)
    sd: NDArray[np.float32]  # (m, latent)
    looked_at: int  # images
    step: int = -1  # of training, after which it was taken

    def among(self, chosen: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of these rows were mended: their places here and in `chosen` (which may be in any order)."""
        place = np.minimum(np.searchsorted(self.rows, chosen), max(len(self.rows) - 1, 0))
        hit = np.flatnonzero(self.rows[place] == chosen) if len(self.rows) else np.zeros(0, dtype=np.int64)
        return place[hit], hit

    def save(self, path: Path, step: int) -> None:
        """Write a NumPy archive, which says after which step of training the look was taken."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **(vars(self) | {"step": step}))

    @classmethod
    def load(cls, path: Path) -> SecondLook:
        """Read it back.

        Raises:
            RunError: if the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in ("rows", "mean", "sd")}
                return cls(**arrays, looked_at=int(archive["looked_at"]), step=int(archive["step"]))
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise RunError(f"{path} is damaged: {error}") from None


def look_again(
    model: HeterogeneityModel,
    loader: ParticleLoader,
    batch_size: int,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = SILENT,
) -> SecondLook | None:
    """Compare images with conformations from all over the data set, and mend the encoder's answers where it errs.

    First FIRST images. If WORTH_IT of them were wrong, then all that the encoder's answers explain no better than the
    best explained of these; others are taken for right. None if `stop` said so in between. The loader's processes share
    the images; each finds out the same.
    """
    scene = _Scene(model, loader, batch_size, stop)
    everything = np.arange(len(loader))
    first = np.unique(np.linspace(0, len(loader) - 1, min(FIRST, len(loader))).astype(np.int64))
    answers = scene.correlations(first, progress)
    if scene.is_stopped():
        return None
    rows, starts = scene.mistaken(first, answers, progress)
    looked_at = len(first)
    others = np.setdiff1d(everything, first)
    if len(others) and len(rows) >= max(WORTH_IT * len(first), 1) and not scene.is_stopped():
        highest = answers[np.isin(first, rows)].max()
        answers = scene.correlations(others, progress)
        doubtful = np.flatnonzero(answers <= highest)
        if len(doubtful) and not scene.is_stopped():
            found, more = scene.mistaken(others[doubtful], answers[doubtful], progress)
            rows, starts = np.concatenate([rows, found]), torch.cat([starts, more])
            looked_at += len(doubtful)
    if scene.is_stopped():
        return None
    order = np.argsort(rows, kind="stable")
    rows, starts = rows[order], starts[torch.from_numpy(order)]
    mean = scene.posterior.uphill(rows, starts, batch_size)
    sd = np.broadcast_to(scene.usual_sd, mean.shape).astype(np.float32)
    log.info("a second look at %d images mended the latents of %d", looked_at, len(rows))
    return SecondLook(rows, mean.cpu().numpy().astype(np.float32), sd, looked_at)


class _Scene:
    """The trained model with a handful of its conformations."""

    def __init__(
        self, model: HeterogeneityModel, loader: ParticleLoader, batch_size: int, stop: Callable[[], bool]
    ) -> None:
        self.stop = stop
        self.model = model
        self.loader = loader
        self.world = loader.world
        self.batch_size = batch_size
        some = np.unique(np.linspace(0, len(loader) - 1, min(CLUSTERED, len(loader))).astype(np.int64))
        with torch.no_grad():
            self.posterior = LatentPosterior(model, loader)
            known, spreads = posteriors(model, loader, some, batch_size)
            self.usual_sd = torch.from_numpy(spreads).median(dim=0).values.numpy()
            centres = self.world.from_first(_centres(known))
            self.latents = torch.as_tensor(centres, dtype=torch.float32, device=model.positions.device)
            self.structures = self.posterior.structures(self.latents)
            found = model.occupancies(self.latents, self.posterior.membership)
            self.occupancies = None if found is None else found.expand(len(centres), -1)

    def is_stopped(self) -> bool:
        """Whether any process was told to stop."""
        return self.world.agree(on=self.stop())

    @torch.no_grad()
    def correlations(self, rows: Rows, progress: Progress) -> NDArray[np.float32]:
        """Of images with what the encoder's answers predict, (n,); fewer if `stop` said so."""
        found = [torch.zeros(0)]
        own = rows[self.world.piece(len(rows))]
        with progress.track(len(own), "judging the encoder's answers") as advance:
            for batch in self.loader.batches(own, self.batch_size):
                found.append(self.posterior.correlations(self.model.inference(batch).mean, batch).cpu())
                advance(len(batch))
                if self.stop():
                    break
        return self.world.gather(torch.cat(found).numpy())

    @torch.no_grad()
    def mistaken(self, rows: Rows, answers: NDArray[np.float32], progress: Progress) -> tuple[Rows, Tensor]:
        """Images that another conformation explains better than the encoder's `answers`, and its latent."""
        piece = self.world.piece(len(rows))
        needed = torch.from_numpy(answers[piece]) + MARGIN * self.posterior.per_nat
        found, starts, done = [np.zeros(0, dtype=np.int64)], [self.latents[:0]], 0
        with progress.track(len(needed), "comparing images with other conformations") as advance:
            for batch in self.loader.batches(rows[piece], self.batch_size):
                best, which = self._of_conformations(batch).max(dim=1)
                wrong = best > needed[done : done + len(batch)].to(best.device)
                found.append(batch.rows[wrong].cpu().numpy())
                starts.append(self.latents[which[wrong]])
                done += len(batch)
                advance(len(batch))
                if self.stop():
                    break
        of_all = self.world.gather(torch.cat(starts).cpu().numpy())
        return self.world.gather(np.concatenate(found)), torch.as_tensor(of_all, device=self.latents.device)

    def _of_conformations(self, batch: Batch) -> Tensor:
        """Correlation of every image with every conformation, (n, conformations)."""
        there = self.occupancies
        shown = [
            self.model.explain(s.expand(len(batch), -1, -1), batch, None, None if there is None else there[k : k + 1])
            for k, s in enumerate(self.structures)
        ]
        return torch.stack(shown, dim=1)


def _centres(known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Latents that stand for all those known, (conformations, latent)."""
    count = min(CONFORMATIONS, len(np.unique(known, axis=0)))
    return np.asarray(KMeans(count, n_init=1, random_state=0).fit(known).cluster_centers_, dtype=np.float32)
