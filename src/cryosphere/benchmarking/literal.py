"""The paper's arithmetic as written: what the fast step is measured against."""

from __future__ import annotations

import torch
from torch import Tensor

from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import ReferenceProjector
from cryosphere.model.batch import Batch
from cryosphere.model.deformation import deform_reference
from cryosphere.model.vae import BaseStructure, HeterogeneityModel
from cryosphere.structures.beads import Beads
from cryosphere.training.build import build_model
from cryosphere.training.config import Config

NUMBERS_AT_ONCE = 2**26  # images × residues × pixels of a side: 5 GB, as some twenty such arrays are alive at once


class LiteralModel(HeterogeneityModel):
    """Every bead summed over every pixel, every residue turned by every segment, the whole batch at once.

    All pixels of the box are compared, also where beads hold no detail. Encoder, decoder and losses are the same.
    """

    @classmethod
    def build(cls, config: Config, beads: Beads, grid: ImageGrid, particles: int, device: torch.device) -> LiteralModel:
        """The literal twin of what `build_model` makes of these."""
        twin = build_model(config, beads, grid, particles, device, whole_images=True)
        model = cls(
            BaseStructure(twin.positions, twin.amplitudes, twin.bonded, twin.springs),
            twin.encoder,
            twin.decoder,
            twin.segmentation,
            ReferenceProjector(grid, config.beads.sigma),
            twin.objective,
        )
        model.deform = deform_reference
        return model.to(device).train()

    def explain(
        self, positions: Tensor, batch: Batch, keep: Tensor | None = None, occupancies: Tensor | None = None
    ) -> Tensor:
        """Correlation of the images that these structures would give with the observed ones, (n,), all traced."""
        return self.correlate(self.generative(positions, batch, occupancies), batch, keep)


def literal_images(images: int, residues: int, box: int) -> int:
    """How many images of a batch the literal sum is given at once: all, or as many as its memory is meant to hold."""
    return max(1, min(images, NUMBERS_AT_ONCE // (residues * box)))
