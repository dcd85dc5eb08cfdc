"""Latent space, coloured by what is true."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryosphere.evaluation.pictures.panels import name_of, panels
from cryosphere.evaluation.results import PerImage
from cryosphere.presentation.style import styled

MOST_POINTS = 10_000
COLOURS = "viridis"
NEGLIGIBLE = 0.01  # share of the variance


def latents_by_truth(per_image: PerImage, most: int = 3) -> Figure:
    """One panel per figure that varies (at most `most`): images along the two main directions of the latents.

    Where the first direction has nearly all of the variance, it is drawn against the true value itself.
    """
    varying = [k for k, _, _ in name_of(per_image.names, per_image.units) if np.ptp(per_image.true[k]) > 1e-3]
    shown = sorted(varying, key=lambda k: str(per_image.units[k]) != "Å")[:most] or [0]  # distances first
    rows = np.linspace(0, len(per_image.latent_mean) - 1, min(len(per_image.latent_mean), MOST_POINTS)).astype(int)
    scores, shares = _main_directions(per_image.latent_mean)
    alone = len(shares) == 1 or shares[1] < NEGLIGIBLE
    with styled():
        figure, axes = panels(len(shown), height=3.3)
        for panel, k in zip(axes, shown, strict=True):
            unit = "degrees" if per_image.units[k] == "°" else str(per_image.units[k])
            true = per_image.true[k][rows]
            height = true if alone else scores[rows, 1]
            dots = panel.scatter(scores[rows, 0], height, c=true, cmap=COLOURS, s=4, linewidths=0, rasterized=True)
            panel.set_xlabel(f"PC1 of the latents ({100 * shares[0]:.0f} %)")
            panel.set_ylabel(f"true ({unit})" if alone else f"PC2 ({100 * shares[1]:.0f} %)")
            panel.set_title(f"{per_image.names[k]} (true)", fontsize=9)
            if not alone:
                figure.colorbar(dots, ax=panel, label=unit, shrink=0.85, pad=0.02)
        return figure


def _main_directions(latents: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of images (n, at most 2) along the directions in which latents vary most, and shares of variance."""
    centred = np.asarray(latents, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    chosen = np.argsort(values)[::-1][:2]
    return centred @ vectors[:, chosen], values[chosen] / max(float(values.sum()), 1e-30)
