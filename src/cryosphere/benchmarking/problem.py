"""A made-up data set of a given size, on disk as training finds one: a globule of residues and images of noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryosphere.benchmarking.literal import LiteralModel
from cryosphere.errors import ConfigError
from cryosphere.fourier import to_spectrum
from cryosphere.imaging.grid import ImageGrid
from cryosphere.model.lifting import LiftingGrid
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.particles.cache import ParticleImages
from cryosphere.particles.checked_array import CheckedArray, build
from cryosphere.particles.table import OpticsGroup, ParticleTable
from cryosphere.progress import SILENT
from cryosphere.structures.beads import Beads
from cryosphere.training.build import build_model
from cryosphere.training.config import Config
from cryosphere.training.configure import configure
from cryosphere.training.data import ParticleLoader

VOLUME = 135.0  # Å³ that a residue fills in a protein
_KEPT = 512  # images on disk, or a batch if that is more: steps draw from them again and again
_AT_ONCE = 64  # images made together


@dataclass(frozen=True)
class BenchSettings:
    """Size of the problem to time."""

    box: int = 190
    residues: int = 1006
    segments: int = 25
    batch_size: int = 64
    pixel_size: float = 1.0  # Å
    repeats: int = 5  # at least so many steps are timed
    seed: int = 0

    def require_sense(self) -> None:
        """Refuse sizes that are none.

        Raises:
            ConfigError: with the option's name.
        """
        least = {"box": 8, "residues": 2, "segments": 1, "batch_size": 1, "repeats": 1}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                option = "--" + name.replace("_", "-")
                raise ConfigError(f"{option} is {getattr(self, name)}; it must be at least {smallest}")
        if self.segments > self.residues:
            raise ConfigError(
                f"{self.segments} segments of {self.residues} residues: --segments must not exceed --residues"
            )
        if not (self.pixel_size > 0 and math.isfinite(self.pixel_size)):
            raise ConfigError(f"pixels of {self.pixel_size} Å: the pixel size must be positive")


@dataclass(frozen=True)
class Problem:
    """Everything that a training step needs, for a model of either kind."""

    settings: BenchSettings
    config: Config
    beads: Beads
    images: ParticleImages
    features: CheckedArray
    device: torch.device

    @property
    def grid(self) -> ImageGrid:
        """Of the images as they lie on disk."""
        return ImageGrid(self.settings.box, self.settings.pixel_size)

    def fast_model(self) -> HeterogeneityModel:
        """The model that `cryosphere train` trains by default."""
        return build_model(self.config, self.beads, self.grid, len(self.images), self.device).train()

    def literal_model(self) -> LiteralModel:
        """The paper's arithmetic as written, with the same networks."""
        return LiteralModel.build(self.config, self.beads, self.grid, len(self.images), self.device)

    def loader(self, model: HeterogeneityModel) -> ParticleLoader:
        """Hands out the images as that model compares them."""
        return ParticleLoader(self.images, self.features, self.device, grid=model.projector.grid)

    def read_once(self) -> None:
        """Look at every image, so that its checksum, which is compared when it is first read, is not timed."""
        for rows in np.array_split(np.arange(len(self.images)), -(-len(self.images) // _AT_ONCE)):
            self.images.spectra(rows)
            self.features.read(rows)

    def rows(self, steps: int, size: int) -> NDArray[np.int64]:
        """Which images the steps take, `size` each, every time in another order."""
        generator = np.random.default_rng([self.settings.seed, 1])
        return np.concatenate([generator.permutation(len(self.images))[:size] for _ in range(steps)])


@contextmanager
def made_up(settings: BenchSettings, device: torch.device) -> Iterator[Problem]:
    """A problem of that size, its images and lifted features in a temporary folder.

    Raises:
        ConfigError: for a size that is no size.
        DiskFullError: if the images find no room.
    """
    settings.require_sense()
    generator = np.random.default_rng(settings.seed)
    beads = _globule(settings, generator)
    config = configure(
        particles="bench.star",
        model="bench.cif",
        segments=settings.segments,
        seed=settings.seed,
        box=settings.box,
        batch_size=settings.batch_size,
    )
    count = max(_KEPT, settings.batch_size)
    points = len(LiftingGrid.around(beads.positions, LiftingGrid.per_axis(beads.positions)).points)
    with TemporaryDirectory(prefix="cryosphere-bench-") as name:
        folder = Path(name)
        torch.manual_seed(settings.seed)
        spectra = CheckedArray(folder / "spectra.npy", (count, settings.box, settings.box // 2 + 1, 2))
        features = CheckedArray(folder / "features.npy", (count, points))
        _fill(spectra, lambda some: torch.view_as_real(to_spectrum(torch.randn(some, settings.box, settings.box))))
        _fill(features, lambda some: torch.randn(some, points))
        images = ParticleImages(_table(count, settings, generator), settings.box, settings.pixel_size, spectra.path)
        problem = Problem(settings, config, beads, images, features, device)
        problem.read_once()
        yield problem


def _fill(array: CheckedArray, values: Callable[[int], torch.Tensor]) -> None:
    rows = np.arange(array.shape[0])
    batches = [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]
    build(array, batches, lambda some: values(len(some)).numpy().astype("<f2"), SILENT.track(len(rows), ""))


def _globule(settings: BenchSettings, generator: np.random.Generator) -> Beads:
    """Residues at a protein's density, or as dense as it takes to fit the box."""
    count = settings.residues
    radius = min((3 * VOLUME * count / (4 * math.pi)) ** (1 / 3), 0.4 * settings.box * settings.pixel_size)
    directions = generator.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    positions = directions * radius * generator.uniform(size=(count, 1)) ** (1 / 3)
    text = np.full(count, "A")
    pairs = np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)
    return Beads(
        positions,
        np.full(count, 60.0),
        text,
        np.arange(1, count + 1),
        np.full(count, ""),
        text,
        np.full(count, "protein"),
        pairs,
    )


def _table(count: int, settings: BenchSettings, generator: np.random.Generator) -> ParticleTable:
    """Particles seen from everywhere, at one to two micrometres of defocus."""
    zero, none = np.zeros(count), np.zeros(count, dtype=np.int64)
    defocus = generator.uniform(1e4, 2e4, size=count)
    return ParticleTable(
        rotations=Rotation.random(count, generator).as_matrix(),
        shifts=np.zeros((count, 2)),
        defocus_u=defocus,
        defocus_v=defocus - 400.0,
        defocus_angle=generator.uniform(0, math.pi, size=count),
        phase_shift=zero,
        b_factor=zero,
        ctf_scale=np.ones(count),
        optics_index=none,
        stack_index=none,
        image_index=np.arange(count),
        half_set=none,
        optics=(OpticsGroup("bench", 300.0, 2.7, 0.07, settings.pixel_size, settings.box),),
        stacks=("bench.mrcs",),
        source=Path("bench.star"),
    )
