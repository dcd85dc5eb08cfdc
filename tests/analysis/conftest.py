"""A run without training: two domains of known motion, seen in simulated images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import gemmi
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.transform import Rotation
from tests.particles.made_up import particle_table

from cryosphere.analysis.run import Run
from cryosphere.distribution import ALONE
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.formation import particle_images
from cryosphere.imaging.grid import ImageGrid
from cryosphere.structures import AtomicModel, model_from_structure

HINGE = np.array([0.0, 0.0, 0.0])
AXIS = np.array([0.0, 1.0, 0.0])


def two_domains(first: int = 60, second: int = 40, *, chain: str = "A", ligand: bool = True) -> gemmi.Structure:
    """Two compact random-walk domains, below and above the plane z = 0, of one chain; residues count from 5."""
    generator = np.random.default_rng(3)
    structure = gemmi.Structure()
    structure.name = "two domains"
    model = gemmi.Model(1)
    polymer = gemmi.Chain(chain)
    place = np.array([0.0, 0.0, -25.0])
    for index in range(first + second):
        centre = np.array([0.0, 0.0, -14.0 if index < first else 14.0])
        step = generator.normal(size=3) + 0.12 * (centre - place)
        place = place + 3.8 * step / np.linalg.norm(step)
        residue = gemmi.Residue()
        residue.name = "ALA"
        residue.seqid = gemmi.SeqId(index + 5, " ")
        residue.entity_type = gemmi.EntityType.Polymer
        for name, element, offset in (("N", "N", -1.2), ("CA", "C", 0.0), ("C", "C", 1.2), ("O", "O", 1.9)):
            atom = gemmi.Atom()
            atom.name, atom.element = name, gemmi.Element(element)
            atom.pos = gemmi.Position(*(place + offset * step / np.linalg.norm(step)))
            atom.b_iso = 20.0
            residue.add_atom(atom)
        polymer.add_residue(residue)
    if ligand:
        residue = gemmi.Residue()
        residue.name = "HEM"
        residue.seqid = gemmi.SeqId(900, " ")
        residue.het_flag = "H"
        residue.entity_type = gemmi.EntityType.NonPolymer
        for name, element, x in (("FE", "Fe", 2.0), ("NA", "N", 4.0), ("NB", "N", 0.0)):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = name, gemmi.Element(element), gemmi.Position(x, 0.0, 14.0)
            residue.add_atom(atom)
        polymer.add_residue(residue)
    model.add_chain(polymer)
    structure.add_model(model)
    structure.setup_entities()
    return structure


@dataclass
class HingeModel:
    """Behaves like a trained model. Segment 0: the first domain; 1: the second and the ligand; 2: empty.

    A latent z turns the second domain about the hinge by `angle_scale` z[0] radians about the y axis and shifts it by
    z[-1] Å along x where there are two dimensions; `drift` moves the whole molecule with z[0], which no image can tell.
    """

    atomic_model: AtomicModel
    z: np.ndarray
    boundary: int
    angle_scale: float = 1.0
    drift: float = 0.0
    noise: float = 3.0
    segment_count: int = 3
    validation_rows: np.ndarray = field(default_factory=lambda: np.arange(0, dtype=np.int64))
    occupancy: Callable[[np.ndarray], np.ndarray] | None = None  # from latents (n, L) to (n, residues)

    @property
    def learns_occupancy(self) -> bool:
        return self.occupancy is not None

    def occupancies(self, z):
        return self.occupancy(np.asarray(z))

    def __post_init__(self) -> None:
        self.latent_dim = self.z.shape[1]
        self.image_grid = ImageGrid(48, 3.0)
        self.table = particle_table(len(self.z))
        self.config = SimpleNamespace(
            beads=SimpleNamespace(sigma=2.0),
            loss=SimpleNamespace(kl="calibrated"),
            model=Path("model.pdb"),
            particles=SimpleNamespace(files=(Path("particles.star"),)),
        )

    world = ALONE

    def working_alone(self) -> AbstractContextManager[None]:
        """It does already."""
        return nullcontext()

    def encode(self, rows=None, progress=None, *, mended=True):
        rows = slice(None) if rows is None else rows
        mean = self.z[rows].astype(np.float32)
        return SimpleNamespace(mean=mean, sd=np.full_like(mean, 0.1))

    def structure_error(self, progress=None):
        return None

    def membership(self):
        residues = len(self.atomic_model.beads)
        membership = np.zeros((residues, 3))
        membership[: self.boundary, 0] = 1.0
        membership[self.boundary :, 1] = 1.0
        return membership

    def motions(self, z):
        count = len(z)
        quaternions = np.zeros((count, 3, 4), dtype=np.float32)
        quaternions[..., 3] = 1.0
        whole = Rotation.from_rotvec(self.drift * z[:, :1] * np.array([0.0, 0.0, 1.0]))
        turn = Rotation.from_rotvec(self.angle_scale * z[:, :1] * AXIS)
        quaternions[:, 0] = whole.as_quat()
        quaternions[:, 1] = (whole * turn).as_quat()
        translations = np.zeros((count, 3, 3), dtype=np.float32)
        if self.latent_dim > 1:
            translations[:, 1] = whole.apply(z[:, -1:] * np.array([1.0, 0.0, 0.0]))
        return SimpleNamespace(quaternions=quaternions, translations=translations, pivots=np.tile(HINGE, (3, 1)))

    def _moved(self, points, segment, z):
        motions = self.motions(z)
        out = np.empty((len(z), *points.shape), dtype=np.float32)
        for number in range(3):
            mine = segment == number
            matrices = Rotation.from_quat(motions.quaternions[:, number]).as_matrix()
            moved = np.einsum("nij,rj->nri", matrices, points[mine] - HINGE)
            out[:, mine] = moved + HINGE + motions.translations[:, number][:, None]
        return out

    def bead_positions(self, z):
        return self._moved(self.atomic_model.beads.positions, self.membership().argmax(1), np.asarray(z))

    def atom_positions(self, z):
        segment = self.membership().argmax(1)[self.atomic_model.atom_bead]
        return self._moved(self.atomic_model.positions, segment, np.asarray(z))

    def image_pairs(self, rows, z):
        table = self.table[rows]
        predicted = particle_images(
            torch.as_tensor(self.bead_positions(z)),
            torch.as_tensor(self.atomic_model.beads.amplitudes, dtype=torch.float32),
            torch.as_tensor(table.rotations, dtype=torch.float32),
            torch.zeros(len(rows), 2),
            CtfParameters.from_table(table),
            (self.image_grid, 2.0),
        ).numpy()
        noise = np.random.default_rng(1).normal(size=predicted.shape) * predicted.std() * self.noise
        return (predicted + noise).astype(np.float32), predicted


def write_metrics(path: Path, train: list[float], held_out: list[float]) -> None:
    epochs = np.arange(1, len(train) + 1)
    pd.DataFrame(
        {
            "epoch": epochs,
            "step": 50 * epochs,
            "images_seen": 5000 * epochs,
            "seconds": 10.0 * epochs,
            "images_per_second": 500.0,
            "train_mean_correlation": train,
            "validation_correlation": held_out,
            "train_loss": [-value + 0.01 for value in train],
            "kl_latent": np.linspace(3.0, 1.5, len(train)),
            "kl_segments": np.linspace(40.0, 12.0, len(train)),
            "learning_rate": 3e-4,
        }
    ).to_csv(path / "metrics.csv", index=False)


@pytest.fixture(scope="session")
def model_of_two_domains() -> AtomicModel:
    return model_from_structure(two_domains(), "two domains")


@pytest.fixture(scope="session")
def build_run(model_of_two_domains):
    """Builds a run in a folder from latents (n, L); keywords go to HingeModel."""

    def build(folder: Path, z, **settings) -> Run:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text("outdir: <script>alert(1)</script>\n")
        write_metrics(folder, [0.20, 0.28, 0.31, 0.32], [0.19, 0.27, 0.30, 0.31])
        return Run(folder, model=HingeModel(model_of_two_domains, np.atleast_2d(z), 60, **settings))

    return build


@pytest.fixture
def make_run(tmp_path, build_run):
    """Builds a run from latents (n, L) in a folder of the test's own."""
    return lambda z, **settings: build_run(tmp_path / "run", z, **settings)
