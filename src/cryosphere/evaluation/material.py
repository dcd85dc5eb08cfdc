"""All that was computed about a run and its truth, and the results drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cryosphere.evaluation.agreement import agreement, compare_axes
from cryosphere.evaluation.comparison import Comparison, Sample
from cryosphere.evaluation.domains import Domain, simulated_domains
from cryosphere.evaluation.figures import Figure
from cryosphere.evaluation.latents import latent_quality
from cryosphere.evaluation.lddt import local_agreement
from cryosphere.evaluation.oracle import Oracle
from cryosphere.evaluation.overlap import assign, boundaries, covers, found_segments
from cryosphere.evaluation.partition import (
    ONE_BODY,
    Learned,
    Partition,
    bodies_between,
    ends_of_components,
    partition,
)
from cryosphere.evaluation.pictures.chains import Strips
from cryosphere.evaluation.results import Evaluation, PerImage
from cryosphere.evaluation.stereochemistry import stereochemistry
from cryosphere.simulation.truth import Truth
from cryosphere.training.trained import Latents, TrainedModel


@dataclass(frozen=True)
class Material:
    """A run, its truth, and what was computed from both."""

    model: TrainedModel
    truth: Truth
    groups: Sequence[Domain]
    latents: Latents
    figures: Sequence[Figure]
    oracle: Oracle | None
    compared: Comparison
    sample: Sample

    @cached_property
    def of_conformations(self) -> list[NDArray[np.float64]]:
        """Every figure of every true conformation, (K,) each."""
        return [figure.in_chunks(self.truth.conformations) for figure in self.figures]

    @cached_property
    def domains(self) -> Sequence[Domain]:
        """The rigid domains that the simulation moved; those that were named where it does not say."""
        known = simulated_domains(self.truth)
        return known if len(known) > 1 else self.groups

    def strips(self) -> Strips:
        """Domains and segments along the chains, to be drawn."""
        assignment = assign(self.model.membership())
        return Strips.of(self.model.atomic_model.beads, self.domains, assignment, self.model.segment_count)

    def evaluation(self) -> Evaluation:
        """The figures of the whole, in brief."""
        compared, sample, beads = self.compared, self.sample, self.model.atomic_model.beads
        assignment = assign(self.model.membership())
        values = zip(self.figures, compared.figures, self.of_conformations, strict=True)
        return Evaluation(
            images=len(self.latents.mean),
            deviation=float(compared.deviation.mean()),
            aligned_deviation=float(compared.aligned_deviation.mean()),
            base_deviation=float(compared.base_deviation.mean()),
            base_aligned_deviation=float(compared.base_aligned_deviation.mean()),
            agreements=[
                replace(agreement(*one, self.truth, self.oracle), **compare_axes(one[0], sample)) for one in values
            ],
            segments=found_segments(beads, assignment, self.groups),
            covers=covers(beads, assignment, self.groups),
            boundaries=boundaries(beads, assignment),
            median_deviations=compared.medians(),
            lddt=local_agreement(sample.lddt, sample.base_lddt),
            stereochemistry=stereochemistry(sample.defects, sample.true_defects, self.truth.base_positions, beads),
            partition=self._partition(assignment),
            latent=latent_quality(self.latents.mean, self.latents.sd, self.truth),
        )

    def _partition(self, assignment: NDArray[np.int64]) -> Partition:
        ends = ends_of_components(self.latents.mean)
        pairs = self.model.bead_positions(ends.reshape(-1, ends.shape[-1])).reshape(*ends.shape[:2], -1, 3)
        tolerance = ONE_BODY * self.model.image_grid.pixel_size
        learned = Learned(
            beads=self.model.atomic_model.beads,
            membership=self.model.membership(),
            assignment=assignment,
            bodies=bodies_between(pairs, assignment, tolerance),
            tolerance=tolerance,
            predicted=self.sample.predicted,
            true=self.sample.true,
        )
        return partition(learned, self.domains, self.truth.base_positions)

    def per_image(self) -> PerImage:
        """The values behind the figures."""
        oracle, compared, sample = self.oracle, self.compared, self.sample
        true = [values[self.truth.conformation_index] for values in self.of_conformations]
        return PerImage(
            names=np.array([figure.name for figure in self.figures]),
            units=np.array([figure.unit for figure in self.figures]),
            predicted=compared.figures,
            true=np.stack(true),
            base=np.concatenate([figure.of(self.truth.base_positions[None]) for figure in self.figures]),
            oracle_rows=np.zeros(0, dtype=np.int64) if oracle is None else oracle.rows,
            oracle=np.zeros((len(true), 0))
            if oracle is None
            else np.stack([oracle.expected(values) for values in self.of_conformations]),
            deviation=compared.deviation,
            aligned_deviation=compared.aligned_deviation,
            base_deviation=compared.base_deviation,
            base_aligned_deviation=compared.base_aligned_deviation,
            latent_mean=self.latents.mean,
            latent_sd=self.latents.sd,
            structure_rows=sample.rows,
            lddt=sample.lddt,
            base_lddt=sample.base_lddt,
            clashes=sample.defects.clashes,
            true_clashes=sample.true_defects.clashes,
            broken_links=sample.defects.broken_links,
            true_broken_links=sample.true_defects.broken_links,
        )
