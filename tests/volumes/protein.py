"""A small protein that folds like a chain, the maps that its images would give, and their half-maps."""

from __future__ import annotations

import numpy as np
import torch

from cryosphere.analysis.segments import Segmentation
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import bead_volumes
from cryosphere.maps.masks import Mask
from cryosphere.maps.resolution import half_map_curves
from cryosphere.structures.beads import Beads
from cryosphere.volumes.findings import Conformations
from cryosphere.volumes.state import StateVolume

SIGMA = 2.0
CHAIN = 60


def folded(seed: int = 0, chains: int = 2, length: int = CHAIN) -> Beads:
    """Chains of residues 3.8 Å apart, none nearer than 4.5 Å to another, in a ball."""
    generator = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    for chain in range(chains):
        start = np.array([-18.0 + 36.0 * chain, 0.0, 0.0])
        own = [start]
        while len(own) < length:
            steps = generator.normal(size=(200, 3))
            candidates = own[-1] + 3.8 * steps / np.linalg.norm(steps, axis=1, keepdims=True)
            others = np.array(places + own[:-1]) if places or own[:-1] else np.full((1, 3), 1e3)
            free = np.linalg.norm(candidates[:, None] - others, axis=-1).min(1)
            cost = np.linalg.norm(candidates - start, axis=1) + 100 * np.maximum(0, 4.5 - free)
            own.append(candidates[np.argmin(cost + generator.uniform(0, 6, len(cost)))])
        places += own
    count = chains * length
    within = np.arange(count - 1)
    bonded = np.stack([within, within + 1], axis=1)[(within + 1) % length != 0]
    return Beads(
        positions=np.array(places),
        amplitudes=generator.uniform(40, 75, count),
        chain=np.repeat([chr(65 + k) for k in range(chains)], length),
        number=np.tile(np.arange(1, length + 1), chains),
        insertion=np.full(count, ""),
        name=np.full(count, "ALA"),
        kind=np.full(count, "protein"),
        bonded=bonded,
    )


def density_map(
    places: np.ndarray, electrons: np.ndarray, grid: ImageGrid, noise: float, seed: int = 0, damping: float = 60.0
) -> StateVolume:
    """A map of beads, damped by a B-factor, on another scale, with half-maps of white noise of so many deviations."""
    volume = bead_volumes(torch.from_numpy(places)[None], torch.from_numpy(electrons), grid, SIGMA)[0].numpy()
    axis = np.fft.fftfreq(grid.box, grid.pixel_size)
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2
    volume = 0.03 * np.fft.ifftn(np.fft.fftn(volume) * np.exp(-damping * squared / 4)).real
    generator = np.random.default_rng(seed)
    deviation = noise * np.sqrt(2) * volume.std()  # of a half-map
    halves = [(volume + deviation * generator.normal(size=volume.shape)).astype(np.float32) for _ in range(2)]
    mask = Mask(np.ones(volume.shape, dtype=np.float32), "none")
    first, second = map(torch.from_numpy, halves)
    curves = half_map_curves(first, second, torch.from_numpy(mask.values), grid, torch.Generator().manual_seed(0))
    return StateVolume(
        np.zeros(2, np.float32), 0.5 * (halves[0] + halves[1]), halves[0], halves[1], grid, mask, curves, 500.0, None
    )


def segmented(beads: Beads, length: int = 30) -> Segmentation:
    """Segments of so many residues in the order of the model."""
    return Segmentation(beads, np.eye(-(-len(beads) // length))[np.arange(len(beads)) // length])


def conformations(beads: Beads, *places: np.ndarray) -> Conformations:
    return Conformations(segmented(beads), np.stack(places or (beads.positions,)), SIGMA)
