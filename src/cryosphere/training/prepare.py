"""From settings and files to what training needs: particles, base structure, preprocessed images, lifted features.

What the user left open is decided here, and the reason is written down.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere.distribution import ALONE, World
from cryosphere.errors import ConfigError
from cryosphere.fourier import parseval_weights, up_to
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.formation import particle_spectra
from cryosphere.imaging.grid import ImageGrid, next_fast_even
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model.batch import Batch
from cryosphere.model.lifting import Lifter, LiftingGrid
from cryosphere.model.losses import spectral_correlation
from cryosphere.particles.cache import CacheFolders, ParticleImages, build_cache
from cryosphere.particles.checked_array import CheckedArray, build
from cryosphere.particles.preprocess import PreprocessSettings, preprocess_batch
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.model import AtomicModel, read_model
from cryosphere.structures.placement import check_inside_box
from cryosphere.training.build import finest_detail
from cryosphere.training.config import DEFAULT_SEGMENTS, Config
from cryosphere.training.moving_parts import start_count

log = logging.getLogger(__name__)

VIEWS = 250_000  # images seen in training, by default; docs/reproduction.md was measured with it
EPOCHS = (6, 60)  # at least, at most
FINE_ENOUGH = 2.0  # Å per pixel: beads of sigma 2 Å hold nothing beyond the 4 Å that such pixels resolve
CONTRAST_SAMPLE = 500
MARGIN = 10.0  # Å between the outermost bead and what counts as background


@dataclass(frozen=True)
class Inputs:
    """Particles and model as read, with the settings completed and the reasons for what was chosen."""

    config: Config
    table: ParticleTable
    stacks: ImageStacks
    atomic_model: AtomicModel
    contrast_correlations: dict[str, float]
    notes: tuple[str, ...]


def read_inputs(config: Config) -> Inputs:
    """Read particles and model, check that they belong together, and complete the settings.

    Raises:
        InputError: for anything wrong with the user's files or settings.
    """
    table = read_particles(config.particles.files)
    stacks = ImageStacks(table, config.particles.datadir)
    atomic_model = read_model(config.model)
    check_inside_box(atomic_model, stacks.box, table.pixel_size, source=config.model)
    config, notes = _completed(config, table, stacks, atomic_model)
    correlations: dict[str, float] = {}
    if config.images.contrast == "auto":
        sample = sample_correlations(config, table, stacks, atomic_model)
        correlations = {"white": float(sample.mean()), "black": -float(sample.mean())}
        contrast, why = decide_contrast(sample)
        config = config.model_copy(update={"images": config.images.model_copy(update={"contrast": contrast})})
        notes.append(why)
    for note in notes:
        log.info("%s", note)
    return Inputs(config, table, stacks, atomic_model, correlations, tuple(notes))


def _completed(
    config: Config, table: ParticleTable, stacks: ImageStacks, atomic_model: AtomicModel
) -> tuple[Config, list[str]]:
    """The settings with box, background and number of segments filled in, and the reasons for what was chosen."""
    notes: list[str] = []
    images, segmentation = config.images, config.segmentation
    side = stacks.box * table.pixel_size
    if images.box is None:
        box, why = default_box(stacks.box, table.pixel_size)
        images = images.model_copy(update={"box": box})
        notes.append(why)
    elif images.box > stacks.box:
        raise ConfigError(f"images.box is {images.box} pixels, but the images have only {stacks.box}")
    if images.background_radius is None:
        radius = float(np.linalg.norm(atomic_model.beads.positions, axis=1).max()) + MARGIN
        images = images.model_copy(update={"background_radius": round(radius, 1)})
    if config.loss.low_pass is not None and config.loss.low_pass > side / 4:
        raise ConfigError(
            f"loss.low_pass is {config.loss.low_pass:g} Å, but the images are only {side:.0f} Å wide: hardly anything "
            f"would be left of them; it can be up to {side / 4:.0f} Å"
        )
    if segmentation.count is None and not segmentation.parts:
        segmentation = segmentation.model_copy(update={"count": DEFAULT_SEGMENTS})
    if segmentation.count == "auto":
        residues = len(atomic_model.beads)
        start = segmentation.start or start_count(residues)
        segmentation = segmentation.model_copy(update={"start": start})
        notes.append(
            f"segments: {start} to begin with, for {residues:,} residues; those that the images do not tell apart are "
            "joined on the way"
        )
    training = config.training
    if training.epochs is None:
        epochs = default_epochs(len(table))
        training = training.model_copy(update={"epochs": epochs})
        notes.append(f"epochs: {epochs}, so that about {epochs * len(table):,} images are seen (another with --epochs)")
    encoder = config.encoder
    if encoder.grid is None and encoder.kind == "lifted":
        encoder = encoder.model_copy(update={"grid": LiftingGrid.per_axis(atomic_model.beads.positions)})
    changes = {"images": images, "segmentation": segmentation, "encoder": encoder, "training": training}
    return config.model_copy(update=changes), notes


def default_epochs(particles: int) -> int:
    """Passes over the images that show the model about VIEWS of them, within EPOCHS."""
    return min(max(round(VIEWS / particles), EPOCHS[0]), EPOCHS[1])


def default_box(box: int, pixel_size: float) -> tuple[int, str]:
    """Box after downsampling, and why: pixels of about 2 Å, a size that transforms fast, never more than there is."""
    wanted = box * pixel_size / FINE_ENOUGH
    if pixel_size >= FINE_ENOUGH or wanted > 0.9 * box:
        return box, f"box: the images' own {box} pixels of {pixel_size:.3f} Å"
    chosen = min(next_fast_even(int(np.ceil(wanted))), box)
    size = pixel_size * box / chosen
    return chosen, (
        f"box: {box} pixels of {pixel_size:.3f} Å cropped in Fourier space to {chosen} of {size:.3f} Å, which keeps "
        f"everything down to {2 * size:.1f} Å (another size with --box)"
    )


def preprocess_settings(config: Config, contrast: str | None = None) -> PreprocessSettings:
    """The part of the settings that decides what preprocessed images look like."""
    images = config.images
    assert images.background_radius is not None
    return PreprocessSettings(
        images.box,
        "black" if (contrast or images.contrast) == "black" else "white",
        images.background_radius,
        images.soft_edge,
    )


def sample_correlations(
    config: Config, table: ParticleTable, stacks: ImageStacks, atomic_model: AtomicModel
) -> torch.Tensor:
    """Correlation of a sample of images, taken as white, with the projected base structure, (m,)."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), CONTRAST_SAMPLE)).astype(np.int64))
    settings = preprocess_settings(config, "white")
    box = settings.output_box(stacks.box)
    grid = ImageGrid(box, table.pixel_size * stacks.box / box)
    found = []
    for some in np.array_split(rows, -(-len(rows) // 64)):
        images = torch.from_numpy(stacks.read(some))
        shifts = torch.as_tensor(table.shifts[some], dtype=torch.float32)
        spectra = preprocess_batch(images, shifts, table.pixel_size, settings)
        found.append(base_correlations(spectra, table[some], atomic_model, grid, config.beads.sigma))
    return torch.cat(found)


def base_correlations(
    spectra: torch.Tensor, table: ParticleTable, atomic_model: AtomicModel, grid: ImageGrid, sigma: float
) -> torch.Tensor:
    """Correlation of preprocessed images with the unmoved base structure, (n,), in all detail that its beads hold."""
    beads = atomic_model.beads
    positions = torch.as_tensor(beads.positions, dtype=torch.float32)
    amplitudes = torch.as_tensor(beads.amplitudes, dtype=torch.float32)
    rotations = torch.as_tensor(table.rotations, dtype=torch.float32)
    predicted = particle_spectra(positions, amplitudes, rotations, SpreadProjector(grid, sigma))
    predicted = predicted * contrast_transfer(CtfParameters.from_table(table), grid)
    weights = parseval_weights(grid.box) * up_to(grid.box, grid.pixel_size, finest_detail(sigma))
    weights[0, 0] = 0.0  # the mean grey value says nothing about contrast
    return spectral_correlation(predicted, spectra, weights)


def decide_contrast(sample: torch.Tensor) -> tuple[str, str]:
    """White or black, from the correlations of images taken as white with the projected model; and why, in words.

    Where the mean is less than three standard errors from zero, the words say that it could be either.
    """
    mean = float(sample.mean())
    contrast, found = ("white", "bright") if mean >= 0 else ("black", "dark")
    why = (
        f"contrast: protein is {found} in the images (correlation with the projected model {mean:+.4f} as white, "
        f"{-mean:+.4f} as black; --set images.contrast=… overrides)"
    )
    error = float(sample.std()) / len(sample) ** 0.5 if len(sample) > 1 else np.inf
    if abs(mean) < 3.0 * error:
        why += (
            f". {len(sample)} images do not show the model clearly enough to be sure: look whether model, poses and "
            "pixel size belong together (`cryosphere project` makes the images to compare with), and set the contrast"
        )
    return contrast, why


def build_images(
    inputs: Inputs, caches: CacheFolders, progress: Progress = SILENT, world: World = ALONE
) -> ParticleImages:
    """The preprocessed images, made now or found in the cache; the processes of a job share the work."""
    return build_cache(inputs.table, inputs.stacks, preprocess_settings(inputs.config), caches, progress, world)


def mean_base_correlation(images: ParticleImages, atomic_model: AtomicModel, sigma: float) -> float:
    """Mean correlation of a sample of preprocessed images with the unmoved base structure."""
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), 1000)).astype(np.int64))
    grid = ImageGrid(images.box, images.pixel_size)
    parts = [
        base_correlations(images.spectra(some), images.table[some], atomic_model, grid, sigma)
        for some in np.array_split(rows, -(-len(rows) // 64))
    ]
    return float(torch.cat(parts).mean())


@dataclass(frozen=True)
class CacheWork:
    """Where what is computed once lies or goes, who is told how far it is, and the processes that share the work."""

    caches: CacheFolders
    progress: Progress = SILENT
    world: World = ALONE


def lifted_features(
    images: ParticleImages,
    atomic_model: AtomicModel,
    config: Config,
    device: torch.device,
    work: CacheWork,
) -> CheckedArray:
    """The lifted features of all images, (n, points) float16, made now or found in the cache.

    work: its caches may name a file that was made before, with particles and model as they were then, before they were
        written to the run directory (which may cost the last bit of a number, and so change the file's name).
    """
    positions = atomic_model.beads.positions
    assert config.encoder.grid is not None  # completed when the inputs were read
    grid = LiftingGrid.around(positions, config.encoder.grid)
    shape = (len(images), len(grid.points))
    caches, world = work.caches, work.world
    known = caches.features
    if known is not None:
        found = CheckedArray(known, shape)
        if not world.agree(on=not found.is_complete()):
            return found
    name = f"lifted-{_features_key(images, atomic_model, config)}.npy" if known is None else known.name
    with world.together():
        array = caches.place(name, shape)
    if not world.agree(on=not array.is_complete()):
        return array
    seen = ImageGrid(images.box, images.pixel_size).cropped_to(grid.spacing / 1.5)
    projector = SpreadProjector(seen, config.beads.sigma, device)
    base = torch.as_tensor(positions, dtype=torch.float32, device=device)
    amplitudes = torch.as_tensor(atomic_model.beads.amplitudes, dtype=torch.float32, device=device)
    noise = seen.box / images.box  # of each frequency, where whole images have 1
    lifter = Lifter(base, amplitudes, projector, grid, residual=config.encoder.residual, noise=noise)
    batches = [np.arange(start, min(start + 256, len(images))) for start in range(0, len(images), 256)]
    tracking = work.progress.track(len(images), "placing images in the molecule's frame")
    build(array, batches, _features_of(images, lifter, device), tracking, world)
    return array


def _features_of(
    images: ParticleImages, lifter: Lifter, device: torch.device
) -> Callable[[NDArray[np.int64]], NDArray[np.float16]]:
    """A function that gives the features of some of the images."""
    rotations = torch.as_tensor(images.table.rotations, dtype=torch.float32)
    ctf = CtfParameters.from_table(images.table)

    def features(rows: NDArray[np.int64]) -> NDArray[np.float16]:
        index = torch.from_numpy(rows)
        batch = Batch(index, images.spectra(rows, lifter.projector.grid.box), rotations[index], ctf[index]).to(device)
        values = lifter(batch).clamp(-6e4, 6e4)
        return np.asarray(values.cpu().numpy().astype("<f2"))

    return features


def _features_key(images: ParticleImages, atomic_model: AtomicModel, config: Config) -> str:
    table, beads = images.table, atomic_model.beads
    how = f"4 {config.encoder.grid} {config.encoder.residual} {config.beads.sigma}"
    digest = hashlib.sha256(f"{images.path.stem} {how}".encode())
    optics = [table.optics_column(n) for n in ("voltage_kv", "spherical_aberration_mm", "amplitude_contrast")]
    columns = (
        table.rotations,
        table.defocus_u,
        table.defocus_v,
        table.defocus_angle,
        table.phase_shift,
        table.b_factor,
    )
    for column in (*columns, table.ctf_scale, *optics, beads.positions, beads.amplitudes):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:20]
