"""How probable latents are, given an image and a trained decoder, whatever the encoder says."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.model.batch import Batch
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.progress import SILENT, Progress
from cryosphere.training.data import ParticleLoader, Rows

STEPS, STEP = 40, 0.05


@torch.no_grad()
def posteriors(
    model: HeterogeneityModel, loader: ParticleLoader, rows: Rows, batch_size: int, progress: Progress = SILENT
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the encoder says of images: means and standard deviations, (n, latent) each, in the order of `rows`.

    The loader's processes share the images, and each gets all of it.
    """
    own = rows[loader.world.piece(len(rows))]
    nothing = torch.zeros(0, model.decoder.latent_dim)
    means, spreads = [nothing], [nothing]
    with progress.track(len(own), "encoding images") as advance:
        for batch in loader.batches(own, batch_size):
            posterior = model.inference(batch)
            means.append(posterior.mean.cpu())
            spreads.append(posterior.sd.cpu())
            advance(len(batch))
    mean, spread = (loader.world.gather(torch.cat(parts).numpy()) for parts in (means, spreads))
    return mean, spread


class LatentPosterior:
    """Posterior density of latents under the decoder, with the segmentation at its mean."""

    def __init__(self, model: HeterogeneityModel, loader: ParticleLoader) -> None:
        self.model = model
        self.loader = loader
        with torch.no_grad():
            self.membership = model.segmentation(draw=False)
            self.per_nat = float(model.correlation_per_nat())

    def structures(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n beads 3"]:
        """Bead positions in Å."""
        positions, _ = self.model.structures(z, self.membership)
        return positions

    def correlations(self, z: Float[Tensor, "n latent"], batch: Batch) -> Float[Tensor, " n"]:
        """Correlation of every image of the batch with what its latent predicts."""
        return self.model.explain(self.structures(z), batch, None, self.model.occupancies(z, self.membership))

    def log_density(self, z: Float[Tensor, "n latent"], batch: Batch) -> Float[Tensor, " n"]:
        """Logarithm of the posterior density in nats, up to a constant of each image."""
        return self.correlations(z, batch) / self.per_nat - 0.5 * z.square().sum(1)

    def uphill(self, rows: Rows, starts: Float[Tensor, "n latent"], batch_size: int) -> Float[Tensor, "n latent"]:
        """Latents of images after a few steps towards the most probable; never less probable than the starts.

        The loader's processes share the images.
        """
        own = self.loader.world.piece(len(rows))
        rows, starts = rows[own], starts[own]
        ends = starts.clone()
        for begin in range(0, len(rows), batch_size):
            piece = slice(begin, begin + batch_size)
            batch = self.loader.batch(rows[piece])
            z = starts[piece].clone().requires_grad_()
            optimizer = torch.optim.Adam([z], lr=STEP)
            for _ in range(STEPS):
                (z.grad,) = torch.autograd.grad(-self.per_nat * self.log_density(z, batch).sum(), z)
                optimizer.step()
            with torch.no_grad():
                better = self.log_density(z, batch) > self.log_density(starts[piece], batch)
                ends[piece] = torch.where(better[:, None], z, starts[piece])
        return torch.as_tensor(self.loader.world.gather(ends.cpu().numpy()), device=ends.device)
