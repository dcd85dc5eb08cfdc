"""An untrained model of two domains, and noisy images of its structures, without files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from cryosphere.fourier import to_spectrum
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.grid import ImageGrid
from cryosphere.model.batch import Batch
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.particles.preprocess import edge_mask
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.training.build import build_model
from cryosphere.training.configure import configure

GRID = ImageGrid(32, 4.0)
SMALL = ("images.box=32", "encoder.hidden=[8]", "encoder.latent_dim=2", "encoder.grid=6", "decoder.hidden=[8]")


def two_domain_model() -> HeterogeneityModel:
    """Residues 0 to 59 and 60 to 99 are a domain each."""
    beads = two_domain_protein(0, (60, 40)).model.beads
    beads = replace(beads, positions=beads.positions - beads.positions.mean(axis=0))
    config = configure(particles=["p.star"], model="m.cif", segments=2, overrides=SMALL)
    return build_model(config, beads, GRID, 1000, torch.device("cpu")).eval()


def seen_as(rotations: np.ndarray) -> Batch:
    """Empty images from these sides."""
    count = len(rotations)
    values = (15000.0, 14500.0, 0.3, 0.0, 0.0, 1.0, 300.0, 2.7, 0.1)
    ctf = CtfParameters(*(torch.full((count,), value) for value in values))
    empty = torch.zeros(count, GRID.box, GRID.box // 2 + 1, dtype=torch.complex64)
    return Batch(torch.arange(count), empty, torch.as_tensor(rotations, dtype=torch.float32), ctf)


def noisy(spectra: torch.Tensor, model: HeterogeneityModel, size: float, seed: int = 0) -> torch.Tensor:
    """With white noise behind the round edge of the images, cropped to what the model compares."""
    generator = torch.Generator().manual_seed(seed)
    box = model.projector.grid.box
    noise = torch.randn(len(spectra), box, box, generator=generator) * edge_mask(box, 0.1)
    return spectra + size * to_spectrum(noise)
