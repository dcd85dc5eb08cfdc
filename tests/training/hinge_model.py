"""A model whose decoder is known: residues 20 to 39 of forty turn as one body by the latent, in radians."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import roma
import torch
from torch import Tensor

from cryosphere.distribution import ALONE
from cryosphere.geometry.motions import RigidMotions
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model.batch import Batch
from cryosphere.model.decoder import Decoder
from cryosphere.model.deformation import segment_centres
from cryosphere.model.encoders import FreeEncoder
from cryosphere.model.segmentation import Part, Segmentation
from cryosphere.model.vae import BaseStructure, HeterogeneityModel, Objective

GRID = ImageGrid(32, 3.0)
AXIS = torch.tensor([0.0, 1.0, 0.0])


class KnownDecoder(Decoder):
    """Segment m turns by `angles[m]` times the latent about AXIS through `hinge`, whatever its own centre."""

    def __init__(self, centres: Tensor, hinge: Tensor, angles: tuple[float, ...]) -> None:
        super().__init__(1, len(angles), [4])
        self.arms = centres - hinge
        self.angles = torch.tensor(angles)

    def forward(self, z: Tensor) -> RigidMotions:
        turns = z[:, :1, None] * self.angles[None, :, None] * AXIS
        arms = self.arms.expand(len(z), -1, -1)
        carried = torch.einsum("nmij,nmj->nmi", roma.rotvec_to_rotmat(turns), arms)
        return RigidMotions(turns, carried - arms)


class Images:
    """Stands for the loader: all images in memory."""

    world = ALONE

    def __init__(self, everything: Batch) -> None:
        self.everything = everything

    def __len__(self) -> int:
        return len(self.everything)

    def batch(self, rows: np.ndarray) -> Batch:
        index = torch.as_tensor(rows)
        all_ = self.everything
        return Batch(index, all_.spectra[index], all_.rotations[index], all_.ctf[index])

    def batches(self, rows: np.ndarray, size: int) -> Iterator[Batch]:
        return (self.batch(rows[start : start + size]) for start in range(0, len(rows), size))


def hinge_model(
    angles: tuple[float, ...], particles: int = 240, noise: float = 1.0
) -> tuple[HeterogeneityModel, Images, Tensor]:
    """A model of as many segments as angles, images of what it decodes, and the latents that they show."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.arange(40) * 1.745
    spiral = [10 * torch.cos(turn), torch.arange(40) * 1.5 - 30, 10 * torch.sin(turn)]
    positions = torch.stack(spiral, dim=1)
    bonded = torch.stack([torch.arange(39), torch.arange(1, 40)], dim=1)
    base = BaseStructure(positions, torch.full((40,), 50.0), bonded, bonded)
    segmentation = Segmentation(torch.arange(40), [Part(0, 39, len(angles))])
    centres = segment_centres(positions, segmentation(draw=False).detach())
    latents = torch.linspace(-1.5, 1.5, particles)[torch.randperm(particles, generator=generator), None]
    encoder = FreeEncoder(particles, 1)
    encoder.mean.data.copy_(latents)
    objective = Objective("calibrated", None, None, 4.0, 1.0, particles)
    decoder = KnownDecoder(centres, positions[20], angles)
    model = HeterogeneityModel(base, encoder, decoder, segmentation, SpreadProjector(GRID, 3.0), objective)
    rotations = roma.unitquat_to_rotmat(torch.nn.functional.normalize(torch.randn(particles, 4, generator=generator)))
    ctf = CtfParameters(*(torch.full((particles,), v) for v in (15e3, 14.5e3, 0.3, 0.0, 0.0, 1.0, 300.0, 2.7, 0.1)))
    empty = Batch(torch.arange(particles), torch.zeros(particles, 32, 17, dtype=torch.complex64), rotations, ctf)
    with torch.no_grad():
        structures, _ = model.structures(latents, segmentation(draw=False))
        clean = model.generative(structures, empty)
        strength = noise * clean.abs().square().mean().sqrt()
        spectra = clean + strength * torch.randn(clean.shape, generator=generator, dtype=torch.complex64)
    model.running_correlation.fill_(1 / (1 + noise**2) ** 0.5)
    return model.eval(), Images(Batch(empty.rows, spectra, rotations, ctf)), latents
