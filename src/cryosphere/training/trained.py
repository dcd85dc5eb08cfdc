"""A trained model read back from its run directory: latents, segments, motions, structures, predicted images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cryosphere.distribution import ALONE, World, find_device, join
from cryosphere.errors import RunError
from cryosphere.fourier import from_spectrum
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.formation import particle_spectra
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.particles.cache import CacheFolders, ParticleImages
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel, read_model
from cryosphere.training import checkpoints
from cryosphere.training.build import build_model
from cryosphere.training.config import Config
from cryosphere.training.data import ParticleLoader, Rows, Split
from cryosphere.training.latent_posterior import posteriors
from cryosphere.training.model_error import ModelError
from cryosphere.training.prepare import CacheWork, Inputs, build_images, lifted_features
from cryosphere.training.run_directory import RunDirectory, RunFacts
from cryosphere.training.second_look import SecondLook

CHUNK = 256  # images or structures at a time


@dataclass(frozen=True)
class Latents:
    """Posterior of every image's latent, in the order of the particle table."""

    mean: NDArray[np.float32]  # (n, latent)
    sd: NDArray[np.float32]  # (n, latent)


@dataclass(frozen=True)
class SegmentMotions:
    """One rigid motion per structure and segment: turn about the pivot, then translate."""

    quaternions: NDArray[np.float32]  # (n, segments, 4), unit, in the order x, y, z, w
    translations: NDArray[np.float32]  # (n, segments, 3) Å
    pivots: NDArray[np.float32]  # (segments, 3) Å


class TrainedModel:
    """A run's model, ready to be asked. Everything uses the posterior mean, never a random draw."""

    def __init__(
        self, run: RunDirectory, config: Config, atomic_model: AtomicModel, table: ParticleTable, device: torch.device
    ) -> None:
        self.run = run
        self.config = config
        self.atomic_model = atomic_model
        self.table = table
        self.device = device
        self.world = ALONE  # the processes that share the work; those of the job where `load` made this
        self.progress: Progress = SILENT
        self._step = -1  # of training, at which the weights were saved

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", progress: Progress = SILENT) -> TrainedModel:
        """Read a run directory. Images are not touched until they are needed.

        Raises:
            RunError: if this is no run, it has no sound checkpoint, or its model is of other residues by now.
        """
        run = RunDirectory(Path(path))
        world = join()
        with world.together():
            run.require()
            table = read_particles(run.particles_path)
            model = read_model(run.model_path)
            _require_same_residues(run, model.beads)
            result = cls(run, run.read_config(), model, table, find_device(device))
            result.progress = progress
            result.network  # noqa: B018 (a damaged or missing checkpoint shows now)
        result.world = world
        return result

    @cached_property
    def facts(self) -> RunFacts:
        """What was found out before training."""
        return self.run.read_facts()

    @cached_property
    def network(self) -> HeterogeneityModel:
        """The model with its trained weights."""
        checkpoint = checkpoints.load_latest(self.run.checkpoints)
        if checkpoint is None:
            raise RunError(f"{self.run.root} has no checkpoint: training has not come to the end of an epoch yet")
        self._step = int(checkpoint.facts["state"]["step"])
        model = build_model(self.config, self.atomic_model.beads, self.image_grid, len(self.table), self.device)
        checkpoints.restore_state(checkpoint, model)
        return model.eval()

    @property
    def step(self) -> int:
        """Of training, at which the weights were saved."""
        _ = self.network
        return self._step

    @cached_property
    def image_grid(self) -> ImageGrid:
        """Grid of the preprocessed images."""
        box = self.config.images.box
        original = self.table.optics[0].box
        if box is None or original is None:
            raise RunError(f"{self.run.root}: the settings or the particles do not say how large the images are")
        return ImageGrid(box, self.table.pixel_size * original / box)

    @cached_property
    def loader(self) -> ParticleLoader:
        """The preprocessed images, from the cache if it is still there, else made again from the stacks."""
        images = ParticleImages(
            self.table, self.image_grid.box, self.image_grid.pixel_size, Path(self.facts.image_cache)
        )
        known = self.facts.feature_cache
        caches = CacheFolders(self.run.cache_folders, None if known is None else Path(known))
        if self.world.agree(on=not images.is_complete()):
            with self.world.together():
                inputs = Inputs(self.config, self.table, ImageStacks(self.table), self.atomic_model, {}, ())
            images = build_images(inputs, caches, self.progress, self.world)
        features = None
        if self.config.encoder.kind == "lifted":
            work = CacheWork(caches, self.progress, self.world)
            features = lifted_features(images, self.atomic_model, self.config, self.device, work)
        return ParticleLoader(images, features, self.device, grid=self.network.projector.grid, world=self.world)

    @contextmanager
    def working_alone(self) -> Iterator[None]:
        """A block in which nothing is shared: what one process of a job asks for, the others need not ask for."""
        world = self.world
        self._share_with(ALONE)
        try:
            yield
        finally:
            self._share_with(world)

    def _share_with(self, world: World) -> None:
        self.world = world
        if "loader" in self.__dict__:
            self.loader.world = world

    @property
    def latent_dim(self) -> int:
        """Numbers per latent."""
        return self.config.encoder.latent_dim

    @property
    def segment_count(self) -> int:
        """Segments at most; some may be empty."""
        return self.network.segmentation.count

    def structure_error(self, progress: Progress = SILENT) -> ModelError | None:
        """How far structures are off beyond what latents leave open; None where images are too few to tell.

        The first time, held-out images are asked; what they say is kept in the run. All processes of a job ask it.
        """
        from cryosphere.training.spread import model_error_of  # which needs this class

        return model_error_of(self, progress)

    @cached_property
    def validation_rows(self) -> Rows:
        """Rows of the images that were held out of training."""
        return Split.of(self.config, len(self.table)).validation

    @torch.no_grad()
    def encode(self, rows: ArrayLike | None = None, progress: Progress = SILENT, *, mended: bool = True) -> Latents:
        """Latents of images (all, or the given rows), in order; unless `mended`, without the second look's.

        The processes of a job share the images: all of them ask for the same ones, and each gets them all.
        """
        chosen = np.arange(len(self.table)) if rows is None else np.asarray(rows, dtype=np.int64).reshape(-1)
        mean, sd = posteriors(self.network, self.loader, chosen, CHUNK, progress)
        if mended and self._second_look is not None:
            places, of_images = self._second_look.among(chosen)
            mean[of_images], sd[of_images] = self._second_look.mean[places], self._second_look.sd[places]
        return Latents(mean, sd)

    @cached_property
    def _second_look(self) -> SecondLook | None:
        """What replaces the encoder's answers, if it was found with these very weights."""
        if not self.run.second_look.is_file():
            return None
        found = SecondLook.load(self.run.second_look)
        return found if found.step == self._step else None

    @torch.no_grad()
    def membership(self) -> NDArray[np.float64]:
        """Segmentation, (residues, segments): rows sum to 1, or to 0 where the residue belongs to no segment."""
        return np.asarray(self._membership.double().cpu().numpy())

    @cached_property
    def _membership(self) -> Tensor:
        with torch.no_grad():
            membership: Tensor = self.network.segmentation(draw=False)
        return membership

    @torch.no_grad()
    def motions(self, z: ArrayLike) -> SegmentMotions:
        """Rigid motions of all segments for latents (n, latent)."""
        parts = [self.network.decoder(piece) for piece in self._pieces(z)]
        quaternions = torch.cat([part.quaternions() for part in parts])
        translations = torch.cat([part.translations for part in parts])
        pivots = self.network.pivots(self._membership)
        return SegmentMotions(*(t.float().cpu().numpy() for t in (quaternions, translations, pivots)))

    @torch.no_grad()
    def bead_positions(self, z: ArrayLike) -> NDArray[np.float32]:
        """Residue positions, (n, residues, 3) Å, for latents (n, latent)."""
        parts = [self.network.structures(piece, self._membership)[0].cpu() for piece in self._pieces(z)]
        return np.asarray(torch.cat(parts).numpy())

    @property
    def learns_occupancy(self) -> bool:
        """Whether the run learned how much of each residue there is."""
        return self.network.decoder.occupancy is not None

    @torch.no_grad()
    def occupancies(self, z: ArrayLike) -> NDArray[np.float32]:
        """How much of each residue there is at latents (n, latent), relative to what is there most: (n, residues).

        1 throughout where the run did not learn it.
        """
        latents = self._pieces(z)
        whole = torch.ones(1, len(self.network.positions), device=self.device)
        parts = [self.network.occupancies(piece, self._membership) for piece in latents]
        rows = [(whole if o is None else o).expand(len(p), -1).cpu() for o, p in zip(parts, latents, strict=True)]
        return np.asarray(torch.cat(rows).numpy())

    @torch.no_grad()
    def atom_positions(self, z: ArrayLike) -> NDArray[np.float32]:
        """Positions of all atoms, (n, atoms, 3) Å: every atom moves with its residue."""
        atoms = torch.as_tensor(self.atomic_model.positions, dtype=torch.float32, device=self.device)
        of_bead = torch.as_tensor(self.atomic_model.atom_bead, device=self.device)
        membership = self._membership.index_select(0, of_bead)
        pivots = self.network.pivots(self._membership)
        move = self.network.deform
        parts = [move(atoms, membership, self.network.decoder(piece), pivots).cpu() for piece in self._pieces(z)]
        return np.asarray(torch.cat(parts).numpy())

    @torch.no_grad()
    def image_pairs(self, rows: ArrayLike, z: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Preprocessed images of the given rows and what the model predicts for their latents, (n, box, box) each."""
        chosen = np.asarray(rows, dtype=np.int64).reshape(-1)
        latents = torch.cat(list(self._pieces(z)))
        projector = SpreadProjector(self.image_grid, self.config.beads.sigma, self.device)
        observed, predicted = [], []
        for start in range(0, len(chosen), CHUNK):
            some = chosen[start : start + CHUNK]
            z = latents[start : start + CHUNK]
            positions, _ = self.network.structures(z, self._membership)
            amplitudes = self.network.amplitudes_at(z, self._membership)
            table = self.table[some]
            rotations = torch.as_tensor(table.rotations, dtype=torch.float32, device=self.device)
            spectra = particle_spectra(positions, amplitudes, rotations, projector)
            spectra = spectra * contrast_transfer(CtfParameters.from_table(table, self.device), self.image_grid)
            predicted.append(from_spectrum(spectra, self.image_grid.box).cpu())
            observed.append(self.loader.images.images(some))
        return torch.cat(observed).numpy(), torch.cat(predicted).numpy()

    def _pieces(self, z: ArrayLike) -> tuple[Tensor, ...]:
        latents = np.atleast_2d(np.asarray(z, dtype=np.float32))
        return torch.split(torch.as_tensor(latents, device=self.device), CHUNK)


def _require_same_residues(run: RunDirectory, beads: Beads) -> None:
    known = run.read_facts().residues
    if known and known != beads.fingerprint:
        raise RunError(
            f"{run.model_path} holds other residues than the run was trained with (now {len(beads):,}): put the former "
            "file back, or train anew"
        )
