"""Up to which detail predicted and true structures agree, seen as volumes, image by image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.distribution import World
from cryosphere.errors import InputError
from cryosphere.evaluation.true_atoms import AtomsOfBeads
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import AtomDensity, bead_volumes
from cryosphere.maps.fsc import (
    cryobench_area,
    resolution,
    shell_correlations,
    shell_frequencies,
    volume_spectra,
)
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.truth import Truth
from cryosphere.training.trained import TrainedModel

Float = NDArray[np.float64]

IMAGES = 100  # CryoBench's number
SMALLEST_BOX = 8  # voxels
THRESHOLDS = (0.5, 0.143)
ATOM_RESOLUTION = 3.0  # voxels: atoms are laid on a grid twice as fine, so that nothing folds into the last shells


@dataclass(frozen=True)
class FscCurves:
    """Fourier shell correlations of n pairs of volumes."""

    curves: Float  # (n, shells)
    at_half: Float  # (n,) Å where each first falls below 0.5; never: the finest detail of the grid
    at_0143: Float  # (n,) Å, below 0.143
    area: Float  # (n,) as CryoBench takes it, at most (box // 2 - 1) / box


@dataclass(frozen=True)
class FscFigures:
    """Fourier shell correlations of several images in brief."""

    mean_curve: list[float]  # per shell
    sd_curve: list[float]
    at_half: float  # Å, median over images
    at_0143: float  # Å, median over images
    area: float  # mean over images
    area_sd: float


@dataclass(frozen=True)
class FscSummary:
    """What evaluation.json says about the volumes of structures."""

    images: int
    box: int
    pixel_size: float  # Å
    frequencies: list[float]  # 1/Å of each shell
    highest_area: float  # of equal volumes
    beads: FscFigures
    base_beads: FscFigures  # of the base structure: what no motion would give
    atoms: FscFigures | None
    base_atoms: FscFigures | None
    true_atoms_known: bool  # False: they follow the true beads


@dataclass(frozen=True)
class FscResult:
    """Volumes of predicted structures, and of the base structure, against those of the true ones."""

    rows: NDArray[np.int64]  # (n,) images
    grid: ImageGrid
    frequencies: Float  # (shells,) 1/Å
    beads: FscCurves
    base_beads: FscCurves
    atoms: FscCurves | None
    base_atoms: FscCurves | None
    true_atoms_known: bool = False  # False: they follow the true beads

    def summary(self) -> FscSummary:
        """The figures for evaluation.json."""
        box = self.grid.box
        return FscSummary(
            images=len(self.rows),
            box=box,
            pixel_size=self.grid.pixel_size,
            frequencies=self.frequencies.tolist(),
            highest_area=(box // 2 - 1) / box,
            beads=_in_brief(self.beads),
            base_beads=_in_brief(self.base_beads),
            atoms=None if self.atoms is None else _in_brief(self.atoms),
            base_atoms=None if self.base_atoms is None else _in_brief(self.base_atoms),
            true_atoms_known=self.true_atoms_known,
        )


@dataclass(frozen=True)
class FscSettings:
    """Which volumes are made, of how many images."""

    images: int = IMAGES  # spread evenly over the data set
    box: int | None = None  # voxels over the same field of view as the images (CryoBench: 128); None: as the images
    all_atoms: bool = True


def fsc_of_run(
    model: TrainedModel,
    truth: Truth,
    latents: NDArray[np.floating],
    *,
    settings: FscSettings | None = None,
    progress: Progress = SILENT,
) -> FscResult:
    """Compare volumes of predicted and true structures, of beads and of all atoms, for images spread over the set.

    Volumes of beads are computed in double precision: their Gaussians leave little of the highest frequencies. Blur
    alike in both volumes hardly changes a Fourier shell correlation, so no resolution is chosen. Where the simulation
    did not keep the true atoms, those of the run's model are moved with the true beads around them. Residues that an
    image lacks are missing in its true volume only. The processes of a job share the images.

    Args:
        model: The run.
        truth: What it was simulated from.
        latents: Of all images, (n, L).
        settings: How many images, and which volumes.
        progress: Shown how far it is.

    Raises:
        InputError: for fewer than one image, or a box below 8.
    """
    settings = settings or FscSettings()
    box = settings.box or truth.box
    if settings.images < 1 or box < SMALLEST_BOX:
        raise InputError(
            f"Fourier shell correlations take at least 1 image and a box of {SMALLEST_BOX}, found {settings}"
        )
    grid = ImageGrid(box, truth.box * truth.pixel_size / box)
    rows = np.unique(np.linspace(0, len(latents) - 1, min(settings.images, len(latents))).round().astype(np.int64))
    own = rows[model.world.piece(len(rows))]
    compare = _Comparison(grid, len(own), progress, model.world)
    own = own if len(own) else rows[:1]  # a process without an image takes one all the same, not to be counted
    chosen = np.asarray(latents)[own]
    beads, base_beads = compare.all("comparing volumes of beads", _of_beads(model, truth, own, chosen, grid))
    atoms, base_atoms = None, None
    if settings.all_atoms:
        of_atoms = _of_atoms(model, truth, own, chosen, grid)
        atoms, base_atoms = compare.all("comparing volumes of all atoms", of_atoms)
    frequencies = shell_frequencies((box - 1) // 2 + 1, box, grid.pixel_size).numpy()
    known = settings.all_atoms and _knows_atoms(model, truth)
    return FscResult(rows, grid, frequencies, beads, base_beads, atoms, base_atoms, known)


def _knows_atoms(model: TrainedModel, truth: Truth) -> bool:
    return truth.atoms is not None and truth.atoms.shape[1] == len(model.atomic_model.positions)


Volumes = Iterator[tuple[Tensor, Tensor, Tensor]]
"""Of image after image: predicted, true and base volume, (box, box, box) each; the base is one and the same tensor."""


@torch.no_grad()
def _of_beads(
    model: TrainedModel, truth: Truth, rows: NDArray[np.int64], latents: NDArray[np.floating], grid: ImageGrid
) -> Volumes:
    def volume(positions: NDArray[np.floating], weights: Float) -> Tensor:
        places = torch.as_tensor(positions, dtype=torch.float64, device=model.device)[None]
        electrons = torch.as_tensor(weights, dtype=torch.float64, device=model.device)
        return bead_volumes(places, electrons, grid, truth.bead_sigma)[0]

    beads = model.atomic_model.beads
    base = volume(beads.positions, beads.amplitudes)
    present = truth.present(rows)
    for row, latent, held in zip(rows, latents, present, strict=True):
        predicted = model.bead_positions(latent[None])[0]
        true = truth.positions(np.array([row]))[0]
        yield volume(predicted, beads.amplitudes), volume(true, truth.amplitudes * held), base


def _of_atoms(
    model: TrainedModel, truth: Truth, rows: NDArray[np.int64], latents: NDArray[np.floating], grid: ImageGrid
) -> Volumes:
    density = AtomDensity(model.atomic_model, grid, ATOM_RESOLUTION * grid.pixel_size)
    following = None if _knows_atoms(model, truth) else AtomsOfBeads(model.atomic_model)

    def volume(positions: NDArray[np.floating], held: NDArray[np.bool_] | None = None) -> Tensor:
        atoms_held = None if held is None else held[model.atomic_model.atom_bead]
        return torch.from_numpy(density.volume(positions, atoms_held)).to(model.device)

    base = volume(model.atomic_model.positions)
    present = truth.present(rows)
    for row, latent, held in zip(rows, latents, present, strict=True):
        predicted = model.atom_positions(latent[None])[0]
        of_image = np.array([row])
        if following is None:
            true: NDArray[np.floating] = truth.atom_positions(of_image)[0]
        else:
            true = following.positions(truth.positions(of_image)[0])
        yield volume(predicted), volume(true, held), base


@dataclass(frozen=True)
class _Comparison:
    grid: ImageGrid
    count: int  # images of this process
    progress: Progress
    world: World

    def all(self, description: str, volumes: Volumes) -> tuple[FscCurves, FscCurves]:
        """Curves of predicted and of base volumes against the true ones, of all processes' images."""
        centred, cryobench = [], []
        base, of_base = None, torch.empty(0)
        with self.progress.track(self.count, description) as advance:
            for predicted, true, unmoved in volumes:
                if unmoved is not base:
                    base, of_base = unmoved, volume_spectra(unmoved)
                pair = torch.stack([volume_spectra(predicted), of_base])
                truth = volume_spectra(true)[None]
                centred.append(shell_correlations(pair, truth).cpu())
                cryobench.append(shell_correlations(pair, truth, "cryobench").cpu())
                advance(1)
        curves, areas = self._gathered(centred), self._gathered(cryobench)
        return self._figures(curves[0], areas[0]), self._figures(curves[1], areas[1])

    def _gathered(self, pairs: list[Tensor]) -> Tensor:
        """Curves of all images, (2, n, shells), from this process's pairs."""
        own = torch.stack(pairs)[: self.count]
        return torch.from_numpy(self.world.gather(own.numpy())).transpose(0, 1)

    def _figures(self, curves: Tensor, cryobench: Tensor) -> FscCurves:
        frequencies = shell_frequencies(curves.shape[1], self.grid.box, self.grid.pixel_size)
        at_half, at_0143 = (resolution(curves, frequencies, threshold) for threshold in THRESHOLDS)
        areas = cryobench_area(cryobench, self.grid.box)
        return FscCurves(*(np.asarray(x.double().numpy()) for x in (curves, at_half, at_0143, areas)))


def _in_brief(found: FscCurves) -> FscFigures:
    return FscFigures(
        mean_curve=found.curves.mean(axis=0).tolist(),
        sd_curve=found.curves.std(axis=0).tolist(),
        at_half=float(np.median(found.at_half)),
        at_0143=float(np.median(found.at_0143)),
        area=float(found.area.mean()),
        area_sd=float(found.area.std()),
    )
