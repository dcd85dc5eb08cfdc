"""The pictures of an evaluation, with what the reader should know about each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cryosphere.evaluation.calibration import Calibration
from cryosphere.evaluation.fsc import FscResult
from cryosphere.evaluation.pictures.agreement import MOST_FIGURES, distributions, predicted_against_true
from cryosphere.evaluation.pictures.calibration import coverage_curves
from cryosphere.evaluation.pictures.chains import MOST_CHAINS, Strips, domains_above_segments
from cryosphere.evaluation.pictures.latents import latents_by_truth
from cryosphere.evaluation.pictures.structures import defects, deviations, shell_correlations
from cryosphere.evaluation.results import Evaluation, PerImage
from cryosphere.presentation.page import Picture
from cryosphere.presentation.style import png
from cryosphere.progress import SILENT, Progress


def draw_pictures(
    evaluation: Evaluation,
    per_image: PerImage,
    fsc: FscResult | None = None,
    strips: Strips | None = None,
    progress: Progress = SILENT,
) -> list[Picture]:
    """All pictures of an evaluation, in the order of its page; those without material are left out."""
    drawings: list[Callable[[], Picture] | None] = [
        lambda: _scatter(evaluation, per_image),
        lambda: _distributions(per_image),
        None if strips is None else partial(_chains, strips),
        lambda: _deviations(per_image),
        None if fsc is None else partial(_volumes, fsc),
        None if evaluation.calibration is None else partial(_calibration, evaluation.calibration),
        lambda: _defects(per_image),
        lambda: _latents(per_image),
    ]
    wanted = [draw for draw in drawings if draw is not None]
    pictures = []
    with progress.track(len(wanted), "drawing pictures") as advance:
        for draw in wanted:
            pictures.append(draw())
            advance(1)
    return pictures


def _more(per_image: PerImage) -> str:
    left_out = len(per_image.names) - MOST_FIGURES
    return f" {left_out} more are in evaluation.json." if left_out > 0 else ""


def _scatter(evaluation: Evaluation, per_image: PerImage) -> Picture:
    return Picture(
        "predicted_against_true.png",
        "Predicted against true",
        "Every image's predicted structure against its true one; on the dashed line they agree. r: correlation over "
        "all images; possible: that of the oracle, which knows the true conformations, the poses and the noise and "
        "lacks only which conformation an image shows. Cross: the base structure." + _more(per_image),
        png(predicted_against_true(per_image, evaluation.agreements)),
    )


def _distributions(per_image: PerImage) -> Picture:
    return Picture(
        "distributions.png",
        "How the images are distributed",
        "Shares of the images, in truth (filled), as predicted, and as the oracle finds them. Noise draws estimates "
        "towards what is common, so the oracle's distribution is narrower than the true one, too." + _more(per_image),
        png(distributions(per_image)),
    )


def _chains(strips: Strips) -> Picture:
    left_out = len({*strips.chain.tolist()}) - MOST_CHAINS
    note = f" The first {MOST_CHAINS} chains are shown." if left_out > 0 else ""
    return Picture(
        "segments.png",
        "True domains and learned segments",
        "Along the residues of each chain: the domains measured between, and the segment each residue belongs to most. "
        "Segments may cut a domain into parts that move alike; which ones do stands at the end of this page." + note,
        png(domains_above_segments(strips)),
    )


def _deviations(per_image: PerImage) -> Picture:
    return Picture(
        "deviations.png",
        "How far structures are from the true ones",
        "Root mean square distance of residues to their true places, where the structures lie and after the best "
        "superposition, and the share of distances between neighbours (within 15 Å) that are kept (lDDT); beside them "
        "the base structure, which is what no motion at all would give.",
        png(deviations(per_image)),
    )


def _volumes(fsc: FscResult) -> Picture:
    known = "are those of the simulation" if fsc.true_atoms_known else "follow the true beads"
    atoms = "" if fsc.atoms is None else f" All atoms: with electron scattering factors; true atoms {known}."
    return Picture(
        "volumes.png",
        "Structures as volumes",
        f"Fourier shell correlation with the volume of the true structure, mean ± standard deviation over "
        f"{len(fsc.rows)} images spread over the data set, box {fsc.grid.box}, {fsc.grid.pixel_size:.3g} Å per voxel."
        + atoms,
        png(shell_correlations(fsc)),
    )


def _calibration(found: Calibration) -> Picture:
    return Picture(
        "calibration.png",
        "How sure the run is, and how often it is right",
        "Share of the images whose truth lies within the interval, over the share that the interval is to hold; on the "
        "dashed line they agree, below it the run is too sure. Left: the latents' spread with the structures' own "
        "error, as held-out images tell it; right: the latents' spread alone. Shaded: 60 to 76 % and 90 to 98 % at the "
        "68 % and the 95 % interval.",
        png(coverage_curves(found)),
    )


def _defects(per_image: PerImage) -> Picture:
    return Picture(
        "defects.png",
        "Clashes and broken links",
        f"In {len(per_image.structure_rows):,} structures: pairs of residues under 4 Å apart that are not bonded "
        "(figure 7 of the paper), and chain links more than 1 Å longer or shorter than in the base structure.",
        png(defects(per_image)),
    )


def _latents(per_image: PerImage) -> Picture:
    return Picture(
        "latents.png",
        "Latent space and the truth",
        "Every image's latent along its main directions (or against the true value, where one direction has all but "
        "one per cent of the variance), coloured by the true value: colours in order mean that neighbours are alike.",
        png(latents_by_truth(per_image)),
    )
