"""The variational auto-encoder as a whole: image → latent → motions → structure → image → loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from cryosphere.fourier import low_pass, parseval_weights, soft_disc, up_to
from cryosphere.geometry.motions import RigidMotions
from cryosphere.imaging.ctf import contrast_transfer
from cryosphere.imaging.formation import particle_spectra
from cryosphere.imaging.projection import Projector, SpreadProjector
from cryosphere.model import losses
from cryosphere.model.batch import Batch, Share
from cryosphere.model.comparing import Compared, in_pieces, traced
from cryosphere.model.decoder import Decoder
from cryosphere.model.deformation import choose_deform, segment_centres
from cryosphere.model.losses import Losses
from cryosphere.model.posteriors import Gaussian, kl_divergence
from cryosphere.model.segmentation import Segmentation

if TYPE_CHECKING:
    from cryosphere.model.correlation import CompiledCorrelation


@dataclass(frozen=True)
class BaseStructure:
    """The beads that are moved: (beads, 3) Å, electrons, consecutive residues, and springs for the elastic network."""

    positions: Tensor
    amplitudes: Tensor
    bonded: Tensor  # (pairs, 2) int64, first < second
    springs: Tensor  # (pairs, 2) int64


@dataclass(frozen=True)
class Objective:
    """How images are compared and what the divergence weighs."""

    kl: Literal["calibrated", "paper"]
    low_pass: float | None  # Å
    mask_radius: float | None  # of half the box
    clash_distance: float  # Å
    image_fraction: float  # of the noise's power that the images' soft edge leaves (1 without one)
    particles: int  # in the training set: the segmentation's divergence is shared among them
    finest: float | None = None  # Å: finer detail is not compared, nor are the Nyquist lines; None: all is compared


@dataclass(frozen=True)
class Weights:
    """Multipliers of the terms beside minus the correlation, at this step of the schedule."""

    kl_latent: float = 1.0
    kl_segments: float = 1.0
    continuity: float = 0.0
    clash: float = 0.0
    elastic: float = 0.0
    resolution: float | None = None  # Å, below which images are not compared at this step; None: the objective's


class HeterogeneityModel(nn.Module):
    """q(z | image) by `inference`, p(image | z) by `generative`, and their weighted sum of terms by `forward`."""

    positions: Tensor
    amplitudes: Tensor
    bonded: Tensor
    springs: Tensor
    frequency_weights: Tensor
    low_pass: Tensor
    mask: Tensor
    running_correlation: Tensor
    pivot_offsets: Tensor

    def __init__(
        self,
        base: BaseStructure,
        encoder: nn.Module,
        decoder: Decoder,
        segmentation: Segmentation,
        projector: Projector,
        objective: Objective,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.segmentation = segmentation
        self.projector = projector
        self.objective = objective
        self.deform = choose_deform(segmentation.temperature)
        for name in ("positions", "amplitudes", "bonded", "springs"):
            self.register_buffer(name, getattr(base, name), persistent=False)
        box, pixel = projector.grid.box, projector.grid.pixel_size
        keep = low_pass(box, pixel, objective.low_pass)
        if objective.finest is not None:
            keep = keep * up_to(box, pixel, objective.finest)
        self.register_buffer("low_pass", keep, persistent=False)
        self.register_buffer("frequency_weights", parseval_weights(box) * keep.square(), persistent=False)
        radius = (objective.mask_radius or 1.0) * box / 2
        self.register_buffer("mask", soft_disc(box, radius, 0.05 * box), persistent=False)
        masked = 1.0 if objective.mask_radius is None else float(self.mask.square().mean())
        self._area = min(objective.image_fraction, masked)
        self.register_buffer("running_correlation", torch.tensor(0.1))
        self.register_buffer("pivot_offsets", torch.zeros(segmentation.count, 3))

    def independent_pixels(self, keep: Tensor | None = None) -> Tensor:
        """Independent noisy numbers per image that the correlation compares, under a further filter `keep`."""
        return self._weights(keep).sum() * self._area

    def _weights(self, keep: Tensor | None) -> Float[Tensor, "box half"]:
        """Of the frequencies of a half-spectrum in a comparison, under a further filter `keep`."""
        return self.frequency_weights if keep is None else self.frequency_weights * keep.square()

    def inference(self, batch: Batch) -> Gaussian:
        """Approximate posterior of the latents of a batch, (n, latent)."""
        posterior: Gaussian = self.encoder(batch)
        return posterior

    def pivots(self, membership: Float[Tensor, "beads segments"]) -> Float[Tensor, "segments 3"]:
        """The points that segments turn about: their own centres, or the box's.

        A segment that took in others keeps the point it turned about before: an offset from its new centre.
        """
        if self.decoder.pivot == "box":
            return self.positions.new_zeros(membership.shape[1], 3)
        return segment_centres(self.positions, membership) + self.pivot_offsets

    def structures(
        self, z: Float[Tensor, "n latent"], membership: Float[Tensor, "beads segments"]
    ) -> tuple[Float[Tensor, "n beads 3"], RigidMotions]:
        """The deformed structures of latents, with the motions that made them."""
        motions = self.decoder(z)
        return self.deform(self.positions, membership, motions, self.pivots(membership)), motions

    def occupancies(
        self, z: Float[Tensor, "n latent"], membership: Float[Tensor, "beads segments"]
    ) -> Float[Tensor, "#n beads"] | None:
        """How much of each residue there is at latents, relative to what is there most; None where it is not learned.

        A single row where it is the same for all images.
        """
        learned = self.decoder.occupancy
        return None if learned is None else learned(z, membership)

    def amplitudes_at(
        self, z: Float[Tensor, "n latent"], membership: Float[Tensor, "beads segments"]
    ) -> Float[Tensor, "#n beads"] | Float[Tensor, " beads"]:
        """Electrons of every bead at latents: of those that are there."""
        occupancies = self.occupancies(z, membership)
        return self.amplitudes if occupancies is None else self.amplitudes * occupancies

    def generative(
        self,
        positions: Float[Tensor, "beads 3"] | Float[Tensor, "#n beads 3"],
        batch: Batch,
        occupancies: Float[Tensor, "#n beads"] | None = None,
    ) -> Complex[Tensor, "n box half"]:
        """Spectra of the noiseless images that these structures would give under the batch's poses and CTFs."""
        amplitudes = self.amplitudes if occupancies is None else self.amplitudes * occupancies
        return self._spectra(positions, amplitudes, batch)

    def _spectra(self, positions: Tensor, amplitudes: Tensor, batch: Batch) -> Tensor:
        spectra = particle_spectra(positions, amplitudes, batch.rotations, self.projector)
        return spectra * contrast_transfer(batch.ctf, self.projector.grid)

    def correlate(
        self, predicted: Complex[Tensor, "n box half"], batch: Batch, keep: Tensor | None = None
    ) -> Float[Tensor, " n"]:
        """Correlation of predicted with observed images under this model's low-pass and mask, and the filter `keep`."""
        if self.objective.mask_radius is None:
            return losses.spectral_correlation(predicted, batch.spectra, self._weights(keep))
        filtered = self.low_pass if keep is None else self.low_pass * keep
        return losses.masked_correlation(predicted, batch.spectra, filtered, self.mask)

    def explain(
        self,
        positions: Float[Tensor, "n beads 3"],
        batch: Batch,
        keep: Tensor | None = None,
        occupancies: Float[Tensor, "#n beads"] | None = None,
    ) -> Tensor:
        """Correlation of the images that these structures would give with the observed ones, (n,).

        With `occupancies` (see there) of their residues; without, all are whole.
        """
        if positions.device.type != "cpu":
            return self.correlate(self.generative(positions, batch, occupancies), batch, keep)
        given = positions
        if occupancies is not None:
            amplitudes = (self.amplitudes * occupancies).expand(positions.shape[:2])
            given = torch.cat([positions, amplitudes[..., None]], dim=2)

        def traced_comparison(structures: Tensor, some: Batch, *, with_gradient: bool) -> Compared:
            def correlations(x: Tensor) -> Tensor:
                amplitudes = x[..., 3] if x.shape[2] == 4 else self.amplitudes
                return self.correlate(self._spectra(x[..., :3], amplitudes, some), some, keep)

            return traced(correlations, structures, with_gradient=with_gradient)

        def compare_piece(structures: Tensor, piece: slice, *, with_gradient: bool) -> Compared:
            return compare(structures, batch[piece], with_gradient=with_gradient)

        compare = self._compiled_comparison(keep, traced_comparison) or traced_comparison
        return in_pieces(compare_piece, given)

    def _compiled_comparison(
        self, keep: Tensor | None, otherwise: Callable[..., Compared]
    ) -> CompiledCorrelation | None:
        """The comparison in compiled passes, where these can say what `correlate` says."""
        projector, weights = self.projector, self._weights(keep)
        if self.objective.mask_radius is not None or not isinstance(projector, SpreadProjector):
            return None
        from cryosphere.model.correlation import CompiledCorrelation, leaves_nyquist_out

        return (
            CompiledCorrelation(projector, self.amplitudes, weights, otherwise) if leaves_nyquist_out(weights) else None
        )

    @torch.no_grad()
    def single_correlations(self, batch: Batch) -> Float[Tensor, "2 n"]:
        """Correlation of the observed images with those of the unmoved structure and of the latent 0, (2, n)."""
        z, membership = self.positions.new_zeros(1, self.decoder.latent_dim), self.segmentation(draw=False)
        middle, _ = self.structures(z, membership)
        singles = ((self.positions, None), (middle[0], self.occupancies(z, membership)))
        return torch.stack([self.explain(s.expand(len(batch), -1, -1), batch, None, o) for s, o in singles])

    def kl_weight(self, keep: Tensor | None = None) -> Tensor | float:
        """What one nat of divergence is charged: calibrated, or one over the number of pixels.

        The latter takes the correlation for a log-likelihood per pixel, as the paper's equation 8 does.
        """
        if self.objective.kl == "paper":
            return 1.0 / self.projector.grid.box**2
        return self.correlation_per_nat(keep)

    def correlation_per_nat(self, keep: Tensor | None = None) -> Tensor:
        """By how much the correlation changes where the Gaussian log-likelihood changes by one."""
        return losses.calibrated_kl_weight(self.running_correlation, self.independent_pixels(keep))

    @torch.no_grad()
    def observe(self, correlation: Tensor) -> None:
        """Let the running mean, which the divergence's weight rests on, follow a training step's mean correlation."""
        self.running_correlation.lerp_(correlation, 0.02)

    def forward(
        self,
        batch: Batch,
        weights: Weights,
        generator: torch.Generator | None = None,
        *,
        draw: bool = True,
    ) -> Losses:
        """Losses of a batch. With `draw`, latents and segmentation are drawn from their posteriors (training).

        Where the batch is one process's share of a step's images, the draws are those of all images together, and the
        mean of all processes' totals is the total of all images.
        """
        posterior = self.inference(batch)
        z = posterior.sample_share(generator, batch.share) if draw else posterior.mean
        membership = self.segmentation(generator, draw=draw)
        positions, _ = self.structures(z, membership)
        keep = self._coarse_filter(weights.resolution)
        occupancies = self.occupancies(z, membership)
        correlations = self.explain(positions, batch, keep, occupancies)
        terms = self._terms(posterior, positions, correlations, weights)
        if self.decoder.occupancy is not None:
            terms = terms._replace(occupancy=self.decoder.occupancy.prior(occupancies))
        total = self._total(terms, weights, self.kl_weight(keep), batch.share)
        return terms._replace(total=total, correlations=correlations[: batch.share.count])

    def _coarse_filter(self, resolution: float | None) -> Tensor | None:
        grid = self.projector.grid
        return None if resolution is None else low_pass(grid.box, grid.pixel_size, resolution, self.positions.device)

    def _terms(self, posterior: Gaussian, positions: Tensor, correlations: Tensor, weights: Weights) -> Losses:
        """Every term by itself; those of weight 0 are not computed, and the total is not yet."""
        nothing = positions.new_zeros(())
        return Losses(
            correlation=correlations.mean(),
            kl_latent=kl_divergence(posterior).sum(-1).mean(),
            kl_segments=self.segmentation.kl(),
            continuity=losses.continuity(positions, self.positions, self.bonded) if weights.continuity else nothing,
            clash=losses.clash(positions, self.bonded, self.objective.clash_distance) if weights.clash else nothing,
            elastic=losses.elastic(positions, self.positions, self.springs) if weights.elastic else nothing,
            total=nothing,
            correlations=correlations,
            occupancy=nothing,
        )

    def _total(self, terms: Losses, weights: Weights, kl_weight: Tensor | float, share: Share) -> Tensor:
        """The weighted sum: means over images count as the share does, what is of the whole data set counts in full."""
        restraints = (
            weights.continuity * terms.continuity + weights.clash * terms.clash + weights.elastic * terms.elastic
        )
        each = kl_weight / self.objective.particles  # image's share of a nat of the whole data set
        of_images = -terms.correlation + kl_weight * weights.kl_latent * terms.kl_latent + restraints
        of_images = of_images + each * terms.occupancy  # a mean over images, as it may depend on their latents
        of_data_set = kl_weight * weights.kl_segments * terms.kl_segments / self.objective.particles
        return share.weight * of_images + of_data_set
