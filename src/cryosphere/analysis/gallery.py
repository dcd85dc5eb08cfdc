"""The pictures of a report, drawn from a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryosphere.analysis.findings import Findings
from cryosphere.analysis.motions import relative_to
from cryosphere.analysis.movement import bead_frames, segment_motions, summarise
from cryosphere.analysis.pictures.chains import (
    MOST_CHAINS,
    ChainLayout,
    occupancy_along_chains,
    residue_movement,
    segments_along_chains,
)
from cryosphere.analysis.pictures.curves import motion_distributions, training_curves
from cryosphere.analysis.pictures.ensemble import structure_ensemble
from cryosphere.analysis.pictures.images import example_images
from cryosphere.analysis.pictures.latents import latent_density
from cryosphere.analysis.run import Run
from cryosphere.analysis.segments import POLYMER_KINDS
from cryosphere.analysis.traversal import Traversal
from cryosphere.presentation.page import Picture
from cryosphere.presentation.style import png

_LOG = logging.getLogger(__name__)
_EXAMPLES = 6
_SAMPLE = 20_000  # images whose motions make up the distributions


def draw_pictures(run: Run, findings: Findings, traversals: Sequence[Traversal]) -> list[Picture]:
    """All pictures of the report, in its order."""
    made = [
        _ensemble(run, traversals[0]),
        *_chains(run, findings),
        _distributions(run) if findings.moving else None,
        _latents(run, findings, traversals),
        _examples(run),
        _curves(findings),
    ]
    return [picture for picture in made if picture is not None]


def _ensemble(run: Run, traversal: Traversal) -> Picture:
    frames = bead_frames(run.model, run.segmentation, run.reference, traversal.latents)
    figure = structure_ensemble(frames, run.model.atomic_model.beads.bonded, "Backbone along PC1")
    return Picture(
        "ensemble_pc1.png",
        "How the structure moves along PC1",
        "One point per residue (Cα, or C1' of nucleotides) joined along the chain, from the 5th (dark) to the 95th "
        "percentile (light) of the first principal component, in three orthogonal views, brought to coincide on "
        f"{run.reference.words(run.segmentation)}. With all atoms: traversals/.",
        png(figure),
    )


def _chains(run: Run, findings: Findings) -> list[Picture]:
    beads, segmentation = run.model.atomic_model.beads, run.segmentation
    polymer = np.flatnonzero(np.isin(beads.kind, POLYMER_KINDS))
    if len(polymer) == 0:
        polymer = np.arange(len(segmentation.assignment))
    layout = ChainLayout(
        np.asarray(beads.chain)[polymer], beads.number[polymer], segmentation.assignment[polymer], segmentation.residues
    )
    left_out = len(np.unique(layout.chain)) - layout.chain_count
    occupancy = findings.occupancy
    note = f" The first {MOST_CHAINS} chains are shown; {left_out} more are in the tables." if left_out > 0 else ""
    shown = [
        Picture(
            "segments.png",
            "Which residues move together",
            "Colour: the segment each residue belongs to; mixed where it belongs to two. White: numbers that the input "
            "model has no residue for; grey: held fixed. In brackets: residues in the segment. Ligands are in "
            "segments_per_residue.csv." + note,
            png(segments_along_chains(layout, segmentation.membership[polymer])),
        ),
        Picture(
            "movement.png",
            "How far each residue moves",
            "Root mean square displacement of each residue about its mean place over the images, after the structures "
            f"were brought to coincide on {findings.reference.words(segmentation)}. Colours as above." + note,
            png(residue_movement(layout, findings.residue_movement[polymer])),
        ),
    ]
    if occupancy is not None:
        band = (occupancy.low[polymer], occupancy.high[polymer]) if occupancy.varies else None
        words = "Points: mean over the images; grey: from the 5th to the 95th percentile of them. " if band else ""
        shown.append(
            Picture(
                "occupancy.png",
                "How much of each residue there is",
                "Occupancy of each residue, learned in training, relative to whole residues: 0 where the input model "
                f"has a residue that the images do not show. {words}Colours as above." + note,
                png(occupancy_along_chains(layout, occupancy.mean[polymer], band)),
            )
        )
    return shown


def _distributions(run: Run) -> Picture:
    rows = np.unique(np.linspace(0, len(run) - 1, min(_SAMPLE, len(run))).round().astype(np.int64))
    segmentation = run.segmentation
    motions = relative_to(segment_motions(run.model, segmentation, run.latents[rows]), run.reference)
    figure = motion_distributions(
        summarise(motions.angles), summarise(motions.displacements), segmentation.residues, run.reference.segments
    )
    return Picture(
        "motions.png",
        "How far the segments have moved from the input model",
        "Rotation and displacement of every segment over the images, from its place in the input model, relative to "
        f"{run.reference.words(segmentation)}. A narrow box far from zero is a difference from the input "
        "model that all images share; a wide one is motion.",
        png(figure),
    )


def _latents(run: Run, findings: Findings, traversals: Sequence[Traversal]) -> Picture:
    components = findings.components
    figure = latent_density(components.project(run.latents), components.explained, [t.coordinates for t in traversals])
    return Picture(
        "latents.png",
        "Where the images lie in latent space",
        "Each image is a point in latent space, seen along the first principal components. Numbered: the points of the "
        f"{'traversal' if len(traversals) == 1 else 'first two traversals'}, evenly from the 5th to the 95th "
        "percentile, bent to stay where images are. Components after the first with less than 1 % of the variance "
        "have no traversal.",
        png(figure),
    )


def _examples(run: Run) -> Picture:
    rows = _example_rows(run)
    observed, predicted = (np.asarray(x, dtype=np.float32) for x in run.model.image_pairs(rows, run.latents[rows]))
    grid = run.model.image_grid
    resolution = max(20.0, 4 * grid.pixel_size)
    figure = example_images(observed, predicted, rows, grid.pixel_size, resolution)
    held_out = len(np.asarray(run.model.validation_rows)) > 0
    return Picture(
        "examples.png",
        "Images beside their predictions",
        ("Held-out images" if held_out else "Images") + " as prepared for training, the same after a low-pass, the "
        "model's prediction for them (with CTF, scaled to fit), and what remains of the difference. Structure in the "
        "last row is what the model does not explain.",
        png(figure),
    )


def _example_rows(run: Run) -> NDArray[np.int64]:
    """Held-out images where there are any, spread evenly through the data set."""
    pool = np.asarray(run.model.validation_rows, dtype=np.int64)
    pool = pool if len(pool) else np.arange(len(run))
    return np.sort(pool[np.unique(np.linspace(0, len(pool) - 1, min(_EXAMPLES, len(pool))).round().astype(int))])


def _curves(findings: Findings) -> Picture | None:
    metrics = findings.metrics
    if len(metrics) == 0 or "epoch" not in metrics.columns:
        _LOG.warning("metrics.csv is missing or empty: the report has no training curves")
        return None
    columns = {str(name): metrics[name].to_numpy(dtype=np.float64) for name in metrics.select_dtypes("number").columns}
    fit, base = findings.fit, findings.base_correlation
    if fit is not None:
        line, label = fit.undeformed, f"undeformed model,\n{fit.images:,} held-out images"
        dashed = (
            f" The dashed line is what the undeformed model reaches on {fit.images:,} of the held-out images, over all "
            "pixels and without the filters that training may have used; in that measure the moving structures reach "
            f"{fit.deformed:.4f} in the end."
        )
    elif base is not None:
        line, label = base, "undeformed model,\nsample of images"
        dashed = " The dashed line is what the undeformed model reaches on a sample of all images, before training."
    else:
        line, label, dashed = None, "", ""
    figure = training_curves(columns, line, label)
    return Picture(
        "training.png",
        "How training went",
        "Mean correlation of predicted and observed images per epoch, for training images and for held-out ones. "
        "Held-out images falling while training images rise is overfitting." + dashed,
        png(figure),
    )
