"""Which displacements of stretches of residues images would prefer, whatever their latent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.imaging.ctf import contrast_transfer
from cryosphere.imaging.formation import particle_spectra
from cryosphere.model.batch import Batch
from cryosphere.model.losses import calibrated_kl_weight
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.progress import SILENT, Progress
from cryosphere.training.data import ParticleLoader, Rows

SHORTEST = 3  # residues of a stretch: a bead is 4 Å wide, so images hardly tell neighbours apart
MOST_STRETCHES = 72  # bounds time and memory; 150 residues and more get longer stretches
LATENT_STEP = 0.05  # prior standard deviations, for derivatives by the latent
KNOWN = 0.5  # of the prior's precision
NUMBERS_AT_ONCE = 2**24  # of the derivatives of images: bounds memory


@dataclass(frozen=True)
class Wishes:
    """Of groups of images: slopes of their log-likelihood by displacements of the stretches, and its curvature.

    Both with the images' own latents profiled out: a displacement that a change of the latent makes as well is none.
    """

    stretch: NDArray[np.int64]  # (R,) which stretch a residue is in
    slopes: NDArray[np.float64]  # (groups, 3 · stretches) nats per Å
    information: NDArray[np.float64]  # (groups, 3 · stretches, 3 · stretches) nats per Å², expected
    images: NDArray[np.int64]  # (groups,)
    dispersion: float  # mean square of the images' slopes over its expectation under white noise: 1 if it is white


def stretches(chain: NDArray[np.str_]) -> NDArray[np.int64]:
    """Consecutive residues of a chain taken together, (R,): SHORTEST of them, more where there would be too many."""
    residues = len(chain)
    starts = np.flatnonzero(np.r_[True, chain[1:] != chain[:-1]])
    place = np.arange(residues) - np.repeat(starts, np.diff(np.r_[starts, residues]))
    length = max(SHORTEST, math.ceil(residues / MOST_STRETCHES))
    return np.asarray(np.cumsum(place % length == 0) - 1)


def wishes(
    model: HeterogeneityModel,
    loader: ParticleLoader,
    rows: Rows,
    latents: NDArray[np.float32],
    groups: tuple[NDArray[np.int64], NDArray[np.int64]],
    progress: Progress = SILENT,
) -> Wishes:
    """Ask images, (n,) `rows` with their latents (n, L), where they would rather have the residues.

    `groups`: the stretch of each residue, (R,), and the group of each image, (n,).
    """
    stretch, group = groups
    slopes = _Slopes(model, stretch)
    contrast = slopes.contrast(loader, rows, latents)
    count, unknowns = int(group.max()) + 1, 3 * slopes.count
    sums, information = torch.zeros(count, unknowns).double(), torch.zeros(count, unknowns, unknowns).double()
    squares = torch.zeros(2).double()
    with progress.track(len(rows), "asking images about the structures") as advance:
        for start in range(0, len(rows), slopes.at_once):
            piece = slice(start, start + slopes.at_once)
            z = torch.as_tensor(latents[piece], device=model.positions.device)
            first, second = slopes.of(z, loader.batch(rows[piece]), contrast)
            inside = slice(slopes.latent_dim, None)
            squares += torch.stack([first[:, inside].square().sum(), _diagonal(second)[:, inside].sum()]).cpu()
            first, second = _without_latents(first, second, slopes.latent_dim)
            own = torch.as_tensor(group[piece])
            sums.index_add_(0, own, first.cpu())
            information.index_add_(0, own, second.cpu())
            advance(len(z))
    images = np.bincount(group, minlength=count).astype(np.int64)
    dispersion = float(squares[0] / squares[1].clamp_min(1e-30))
    return Wishes(stretch, sums.numpy(), information.numpy(), images, max(1.0, dispersion))


def _without_latents(first: Tensor, second: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Slopes (n, P) and information (n, P, P) by displacements alone, each image's latent taking its best value.

    Without the prior: groups are of images whose latents are alike, to which it does not apply. Directions of the
    latent of which an image knows less than KNOWN are left as they are.
    """
    values, vectors = torch.linalg.eigh(second[:, :dim, :dim])
    inverse = torch.where(values > KNOWN, 1 / values.clamp_min(KNOWN), 0.0)
    follow = vectors @ (inverse[..., None] * (vectors.mT @ second[:, :dim, dim:]))
    slopes = first[:, dim:] - torch.einsum("nlp,nl->np", follow, first[:, :dim])
    return slopes, second[:, dim:, dim:] - second[:, dim:, :dim] @ follow


class _Slopes:
    """Derivatives of images' log-likelihood by their latents and by displacements of stretches."""

    def __init__(self, model: HeterogeneityModel, stretch: NDArray[np.int64]) -> None:
        self.model = model
        self.latent_dim = model.decoder.latent_dim
        device = model.positions.device
        self.count = int(stretch.max()) + 1
        self.members = [torch.as_tensor(np.flatnonzero(stretch == s), device=device) for s in range(self.count)]
        with torch.no_grad():
            self.membership = model.segmentation(draw=False)
        box, pixel = model.projector.grid.box, model.projector.grid.pixel_size
        weights = model.frequency_weights
        self.used = weights.flatten().nonzero()[:, 0]
        self.root = weights.flatten()[self.used].sqrt()
        rows, columns = torch.fft.fftfreq(box, pixel), torch.fft.rfftfreq(box, pixel)
        waves = torch.stack([columns.expand(box, -1), rows[:, None].expand(-1, len(columns))]).to(device)
        self.shift = -2j * math.pi * waves.flatten(1)[:, self.used] * self.root  # of a spectrum by 1 Å along x, y
        columns_in_all = self.latent_dim + 2 * self.count
        self.at_once = int(np.clip(NUMBERS_AT_ONCE // (2 * len(self.used) * columns_in_all), 1, 256))
        self.pixels = float(weights.sum()) * model.objective.image_fraction

    def _flat(self, spectra: Complex[Tensor, "n box half"]) -> Float[Tensor, "n numbers"]:
        """Spectra as rows of real numbers whose dot products are those of the images compared."""
        return torch.view_as_real(spectra.flatten(1)[:, self.used] * self.root).flatten(1)

    def _predicted(self, z: Tensor, batch: Batch, transfer: Tensor) -> Tensor:
        positions, _ = self.model.structures(z, self.membership)
        amplitudes = self.model.amplitudes_at(z, self.membership)
        spectra = particle_spectra(positions, amplitudes, batch.rotations, self.model.projector)
        return self._flat(spectra * transfer)

    @torch.no_grad()
    def contrast(self, loader: ParticleLoader, rows: Rows, latents: NDArray[np.float32]) -> tuple[float, float]:
        """Mean correlation of images with their predictions, and mean norm of these."""
        found = []
        for start in range(0, len(rows), 256):
            batch, z = loader.batch(rows[start : start + 256]), torch.as_tensor(latents[start : start + 256])
            transfer = contrast_transfer(batch.ctf, self.model.projector.grid)
            predicted = self._predicted(z.to(batch.rotations.device), batch, transfer)
            observed = self._flat(batch.spectra)
            norm = predicted.norm(dim=1)
            found.append(torch.stack([(predicted * observed).sum(1) / (norm * observed.norm(dim=1)), norm]))
        correlation, norm = torch.cat(found, dim=1).double().mean(dim=1).tolist()
        return max(correlation, 1e-3), norm

    @torch.no_grad()
    def of(self, z: Tensor, batch: Batch, contrast: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Slopes (n, L + 3 · stretches) in nats and expected curvature, by latents and displacements."""
        transfer = contrast_transfer(batch.ctf, self.model.projector.grid)
        predicted = self._predicted(z, batch, transfer)
        norm = predicted.norm(dim=1, keepdim=True)
        unit, observed = predicted / norm, self._flat(batch.spectra)
        observed = observed / observed.norm(dim=1, keepdim=True)
        changes = self._changes(z, batch, transfer) / norm[:, None]
        along = (changes @ unit[..., None])[..., 0]  # a change of the image's brightness is none
        first = (changes @ observed[..., None])[..., 0] - along * (unit * observed).sum(1, keepdim=True)
        second = changes @ changes.mT - along[:, :, None] * along[:, None]
        correlation, usual_norm = contrast
        per_nat = float(calibrated_kl_weight(torch.tensor(correlation), self.pixels))
        expected = correlation * norm[:, :, None] / usual_norm  # a bright view shows more
        return self._in_space(first.double() / per_nat, (second * expected / per_nat).double(), batch)

    def _changes(self, z: Tensor, batch: Batch, transfer: Tensor) -> Tensor:
        """Derivatives of predicted images by latents, and by displacements of stretches in the image's plane."""
        columns = []
        for step in LATENT_STEP * torch.eye(self.latent_dim, device=z.device):
            after, before = (self._predicted(z + sign * step, batch, transfer) for sign in (1, -1))
            columns.append((after - before) / (2 * LATENT_STEP))
        positions, _ = self.model.structures(z, self.membership)
        amplitudes = self.model.amplitudes_at(z, self.membership).expand(positions.shape[:2])
        for some in self.members:
            seen = (positions[:, some], amplitudes[:, some], batch.rotations, self.model.projector)
            spectra = (particle_spectra(*seen) * transfer).flatten(1)[:, self.used]
            columns += [torch.view_as_real(spectra * shift).flatten(1) for shift in self.shift]
        return torch.stack(columns, dim=1)

    def _in_space(self, first: Tensor, second: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """From displacements in the images' planes to displacements in the molecule's frame."""
        count, dim, stretch = len(first), self.latent_dim, self.count
        plane = batch.rotations[:, :2].double()  # (n, 2, 3): what moves a point in the image
        turned = torch.einsum("nsi,nix->nsx", first[:, dim:].reshape(count, stretch, 2), plane).flatten(1)
        cross = torch.einsum("nlsi,nix->nlsx", second[:, :dim, dim:].reshape(count, dim, stretch, 2), plane).flatten(2)
        both = second[:, dim:, dim:].reshape(count, stretch, 2, stretch, 2)
        both = torch.einsum("nix,nsitj,njy->nsxty", plane, both, plane).reshape(count, 3 * stretch, 3 * stretch)
        upper = torch.cat([second[:, :dim, :dim], cross], dim=2)
        lower = torch.cat([cross.mT, both], dim=2)
        return torch.cat([first[:, :dim], turned], dim=1), torch.cat([upper, lower], dim=1)


def _diagonal(matrices: Tensor) -> Tensor:
    return torch.diagonal(matrices, dim1=-2, dim2=-1)
