"""How well a model in training explains images, held out ones above all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from cryosphere.model.vae import HeterogeneityModel, Weights
from cryosphere.training.accumulation import pieces
from cryosphere.training.data import ParticleLoader, Rows, Split

LEAST = 200  # training images that are looked at for comparison, if there are so many


@dataclass(frozen=True)
class Explained:
    """How well a set of images is explained.

    correlation: mean, with posterior-mean predictions.
    gain: nats per image over a single structure for all images: the log-likelihood of predictions drawn from the
        posteriors, less the divergence of the latent, less the log-likelihood of one structure: the unmoved one or
        that of the latent 0, whichever fits better. Positive: images differ as the motion says.
    """

    correlation: float
    gain: float


@dataclass(frozen=True)
class Looking:
    """How images are gone over: in steps of `batch_size`, of which `at_once` at a time, with draws from `seed`."""

    batch_size: int
    at_once: int
    seed: int


def validate(
    model: HeterogeneityModel, loader: ParticleLoader, split: Split, looking: Looking
) -> dict[str, float | str]:
    """Figures of held-out images, and for comparison of as many training images, by their names in metrics.csv.

    Empty text where no images are held out. The model is in training mode afterwards.
    """
    found: dict[str, float | str] = {"validation_correlation": "", "train_mean_correlation": ""}
    found |= {"validation_gain": "", "train_gain": ""}
    held_out, trained = split.validation, split.train
    model.eval()
    if len(held_out):
        of_held_out = explained(model, loader, held_out, looking)
        found |= {"validation_correlation": of_held_out.correlation, "validation_gain": of_held_out.gain}
    spread = np.linspace(0, len(trained) - 1, min(len(trained), max(len(held_out), LEAST))).astype(np.int64)
    of_trained = explained(model, loader, trained[spread], looking)
    found |= {"train_mean_correlation": of_trained.correlation, "train_gain": of_trained.gain}
    model.train()
    return found


@torch.no_grad()
def explained(model: HeterogeneityModel, loader: ParticleLoader, rows: Rows, looking: Looking) -> Explained:
    """How well a model explains the images of some rows, which all processes share."""
    sums = torch.zeros(5, dtype=torch.float64, device=loader.device)
    generator = torch.Generator(loader.device).manual_seed(looking.seed)
    for batch in loader.shares(rows, looking.batch_size):
        before = generator.get_state()
        for piece in pieces(batch, looking.at_once):
            generator.set_state(before)  # the draws are those of the whole step, of which each piece takes its own
            count = piece.share.count
            drawn = model(piece, Weights(), generator)
            mean = model(piece, Weights(), draw=False).correlations.sum()
            unmoved, middle = model.single_correlations(piece)[:, :count].sum(1)
            sums += torch.stack([mean, drawn.correlations.sum(), unmoved, middle, count * drawn.kl_latent])
    correlation, moving, unmoved, middle, divergence = (loader.world.sum(sums) / len(rows)).tolist()
    nats = (moving - max(unmoved, middle)) / float(model.correlation_per_nat())
    return Explained(correlation, nats - divergence)
