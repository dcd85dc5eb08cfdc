"""A finished run as arrays and structures: the object to use in notebooks and scripts."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cryosphere.analysis.bodies import Body, reference_body
from cryosphere.analysis.motions import RigidMotions, relative_to
from cryosphere.analysis.movement import bodies_between_ends, segment_motions
from cryosphere.analysis.pca import PrincipalComponents, principal_components
from cryosphere.analysis.segments import Segmentation
from cryosphere.analysis.traversal import traverse
from cryosphere.errors import InputError
from cryosphere.progress import SILENT, Progress
from cryosphere.training.moving_parts import MovingParts
from cryosphere.training.run_directory import RunDirectory, RunFacts

if TYPE_CHECKING:
    import gemmi

    from cryosphere.particles.table import ParticleTable
    from cryosphere.training.model_error import ModelError
    from cryosphere.training.trained import Latents, TrainedModel

ONE_BODY = 0.5  # of a pixel of the images as trained on: parts that move less against each other are told as one
Rows = int | slice | ArrayLike | None


class Run:
    """What a training run has learned.

    Every per-image method takes either `rows` (image rows, from 0, in the order of the input; None for all images) or
    `z` (latents (n, L), or one (L,)). Lengths are in Å, in the frame of the input model.

    >>> run = cryosphere.Run("run")                        # doctest: +SKIP
    >>> run.latents.shape, run.segment_table["ranges"]     # doctest: +SKIP
    >>> run.structure(12).make_mmcif_document()            # doctest: +SKIP
    >>> run.coordinates(z=[[0.0] * run.latent_dim])        # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        progress: Progress = SILENT,
        model: TrainedModel | None = None,
    ) -> None:
        """Open the run directory `path`; `model` spares the loading where the caller has it already."""
        self.path = Path(path)
        self.directory = RunDirectory(self.path)
        self.progress = progress
        if model is None:
            from cryosphere.training.trained import TrainedModel

            model = TrainedModel.load(self.path, device=device, progress=progress)
        self.model = model

    def __repr__(self) -> str:
        return (
            f"Run({str(self.path)!r}: {len(self)} images, {len(self.segments)} residues, "
            f"{self.model.segment_count} segments, latent dimension {self.latent_dim})"
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.model.table)

    @property
    def latent_dim(self) -> int:
        """L, the number of latent dimensions."""
        return int(self.model.latent_dim)

    @property
    def particles(self) -> ParticleTable:
        """Poses, CTF and stack places of the images, in the order of the input."""
        return self.model.table

    @property
    def latents(self) -> NDArray[np.float32]:
        """(n, L): posterior mean of every image's latent, in the order of the input."""
        return np.asarray(self._encoded.mean)

    @property
    def latent_sd(self) -> NDArray[np.float32]:
        """(n, L): posterior standard deviation of every image's latent."""
        return np.asarray(self._encoded.sd)

    def encode(self) -> None:
        """Find the latents of all images now. The processes of a job do it together, all at the same time."""
        _ = self._encoded

    @cached_property
    def _encoded(self) -> Latents:
        return self.model.encode(progress=self.progress)

    @cached_property
    def structure_error(self) -> ModelError | None:
        """How far structures are off beyond what latents leave open. The processes of a job find it together."""
        return self.model.structure_error(self.progress)

    @cached_property
    def segmentation(self) -> Segmentation:
        """The learned segments: membership, residue ranges, centres, names."""
        return Segmentation(self.model.atomic_model.beads, np.asarray(self.model.membership(), dtype=np.float64))

    @cached_property
    def components(self) -> PrincipalComponents:
        """Directions in latent space along which the images differ most."""
        return principal_components(self.latents)

    @cached_property
    def moving_parts(self) -> MovingParts | None:
        """The parts that the images tell apart; None where the number of segments was given (or images are few)."""
        path = self.directory.moving_parts
        return MovingParts.load(path) if path.is_file() else None

    @cached_property
    def bodies(self) -> tuple[tuple[int, ...], ...]:
        """Segments (from 0) that move as one; largest body first.

        Where the number of segments was left to the images, the parts that the images told apart at the end of
        training; else what moves as one to within half a pixel RMS along all traversals.
        """
        if self.moving_parts is not None:
            return self.moving_parts.parts
        followed = range(self.components.followed)
        ends = np.stack([traverse(self.latents, self.components, k).latents[[0, -1]] for k in followed])
        tolerance = ONE_BODY * self.model.image_grid.pixel_size
        return bodies_between_ends(self.model, self.segmentation, ends, tolerance)

    @cached_property
    def reference(self) -> Body:
        """What motions are told relative to: the body of most residues, or the residues that were held fixed."""
        return reference_body(self.segmentation, self.bodies)

    @property
    def segments(self) -> NDArray[np.float64]:
        """(R, N): how much each residue belongs to each segment (posterior mean); rows sum to 1."""
        return self.segmentation.membership

    @property
    def segment_table(self) -> pd.DataFrame:
        """One row per segment, as in segments.csv."""
        return self.segmentation.table(self.reference.segments)

    @property
    def residue_table(self) -> pd.DataFrame:
        """One row per residue, as in segments_per_residue.csv."""
        return self.segmentation.residue_table()

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """What training wrote per epoch (metrics.csv); empty where it wrote nothing yet."""
        path = self.directory.metrics_path
        if not path.is_file() or path.stat().st_size == 0:
            return pd.DataFrame()
        return pd.read_csv(path)

    @cached_property
    def facts(self) -> RunFacts | None:
        """What was found out before training, such as the images' correlation with the undeformed model."""
        return self.directory.read_facts() if self.directory.facts_path.is_file() else None

    def motions(self, rows: Rows = None, *, z: ArrayLike | None = None, relative: bool = False) -> RigidMotions:
        """Rigid motion of every segment in every image: rotation about the segment's own centre, then translation.

        With `relative=True` they are told relative to the largest body of segments that move as one, which removes
        the motion of the whole molecule that no image can settle. All images are encoded once to find that body.
        """
        motions = segment_motions(self.model, self.segmentation, self.latents_of(rows, z=z))
        return relative_to(motions, self.reference) if relative else motions

    def coordinates(self, rows: Rows = None, *, z: ArrayLike | None = None) -> NDArray[np.float32]:
        """(n, R, 3) Å: where the residues are in every image, in the order of the input model."""
        return np.asarray(self.model.bead_positions(self.latents_of(rows, z=z)))

    def structure(self, row: int | None = None, *, z: ArrayLike | None = None) -> gemmi.Structure:
        """The all-atom structure of one image, or at one latent (L,)."""
        latents = self.latents_of(row, z=z)
        if len(latents) != 1:
            raise InputError(f"structure() makes one structure, but {len(latents)} latents were given")
        return self.model.atomic_model.with_positions(self.model.atom_positions(latents)[0])

    def latents_of(self, rows: Rows = None, *, z: ArrayLike | None = None) -> NDArray[np.float32]:
        """(n, L) latents of the given image rows, or the checked `z`; only the images asked for are encoded."""
        if z is not None:
            if rows is not None:
                raise InputError("give either image rows or latents z, not both")
            return checked_latents(np.atleast_2d(np.asarray(z)), self.latent_dim, "z")
        if rows is None or "_encoded" in self.__dict__:
            return np.atleast_2d(self.latents[slice(None) if rows is None else self.row_numbers(rows)])
        return np.asarray(self.model.encode(self.row_numbers(rows), progress=self.progress).mean)

    def row_numbers(self, rows: Rows) -> NDArray[np.int64]:
        """Image rows as an integer array, checked against the number of images."""
        if rows is None or isinstance(rows, slice):
            return np.arange(len(self), dtype=np.int64)[rows if rows is not None else slice(None)]
        numbers = np.atleast_1d(np.asarray(rows))
        if numbers.dtype == np.bool_ and numbers.shape == (len(self),):
            return np.flatnonzero(numbers)
        if not np.issubdtype(numbers.dtype, np.integer) or numbers.ndim != 1:
            raise InputError(
                f"image rows must be whole numbers in one dimension, found {numbers.dtype} {numbers.shape}"
            )
        wrong = numbers[(numbers < 0) | (numbers >= len(self))]
        if len(wrong):
            raise InputError(
                f"image row {int(wrong[0])} does not exist: the run has {len(self)} images, 0 to {len(self) - 1}"
            )
        return numbers.astype(np.int64)


def checked_latents(z: NDArray[np.generic], latent_dim: int, source: str) -> NDArray[np.float32]:
    """The latents (n, L) as float32, or an InputError that says what is wrong with them."""
    if not np.issubdtype(z.dtype, np.number) or np.issubdtype(z.dtype, np.complexfloating):
        raise InputError(f"{source}: expected latents as real numbers, found {z.dtype}")
    if z.ndim != 2 or z.shape[1] != latent_dim or len(z) == 0:
        shape = " × ".join(map(str, z.shape)) or "a single number"
        raise InputError(
            f"{source}: expected latents of shape (n, {latent_dim}), one row per structure, as in analysis/z.npy "
            f"of this run; found {shape}"
        )
    values = z.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(wrong):
        raise InputError(f"{source}: row {int(wrong[0])} holds a value that is not finite ({len(wrong)} such rows)")
    return values
