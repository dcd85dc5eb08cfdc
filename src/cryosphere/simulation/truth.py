"""What a simulation knows and its images only show: truth.npz."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import InputError
from cryosphere.simulation.composition import Composition

FORMAT_VERSION = 2
ATOMS = "truth_atoms.npy"


@dataclass(frozen=True)
class Truth:
    """n images of K conformations of a protein of R residues; lengths in Å, angles in radians, model.cif's frame."""

    conformations: NDArray[np.float32]  # (K, R, 3) bead positions
    conformation_index: NDArray[np.int64]  # (n,) which of them an image shows
    parameter_names: NDArray[np.str_]  # (P,)
    parameters: NDArray[np.float64]  # (K, P)
    rotations: NDArray[np.float64]  # (n, 3, 3), true ones: r is seen at (A r)_xy - shift
    shifts: NDArray[np.float64]  # (n, 2)
    chain: NDArray[np.str_]  # (R,)
    residue_number: NDArray[np.int64]  # (R,)
    insertion: NDArray[np.str_]  # (R,)
    residue_name: NDArray[np.str_]  # (R,)
    amplitudes: NDArray[np.float64]  # (R,) electrons
    domain: NDArray[np.int64]  # (R,): 0 stays, 1, 2, … move rigidly, -1 unknown
    base_positions: NDArray[np.float64]  # (R, 3) beads of model.cif
    absent_sets: NDArray[np.bool_]  # (S, R) residues that some images lack, set by set; S may be 0
    presence: NDArray[np.bool_]  # (n, S) whether an image holds the residues of a set
    density: str  # what the images are made of: "beads" or "atoms"
    noise_sd: float  # grey values of the stack
    signal_variance: float  # of the noiseless pixels
    snr: float
    sign: float  # +1: protein bright, -1: dark
    bead_sigma: float  # Å
    pixel_size: float
    box: int
    atoms: NDArray[np.float32] | None = None  # (K, n_atoms, 3), all atoms in model.cif's order: truth_atoms.npy, mapped

    def save(self, path: Path) -> None:
        """Write truth.npz through a temporary name; the atoms have a file of their own."""
        arrays = {name: np.asarray(getattr(self, name)) for name in _stored()}
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, format_version=np.int64(FORMAT_VERSION), **arrays)
        temporary.replace(path)

    def positions(self, images: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """True bead positions of the given images, (m, R, 3)."""
        return self.conformations[self.conformation_index[images]]

    def atom_positions(self, images: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """True positions of all atoms in the given images, (m, n_atoms, 3), read from the disk.

        Raises:
            InputError: if the simulation was not told to keep them.
        """
        if self.atoms is None:
            raise InputError(f"there is no {ATOMS} beside the truth: simulate with `truth_atoms: true`")
        return np.asarray(self.atoms[self.conformation_index[images]])

    def with_atoms(self, atoms: NDArray[np.float32] | None) -> Truth:
        """The same truth with these atoms, (K, n_atoms, 3)."""
        return replace(self, atoms=atoms)

    def present(self, images: NDArray[np.int64] | slice) -> NDArray[np.bool_]:
        """Which residues the given images hold, (m, R)."""
        return Composition(self.absent_sets, self.presence).present(images)


def load_truth(path: str | Path) -> Truth:
    """Read truth.npz.

    Raises:
        InputError: if it is missing, damaged, of another format or version, or its arrays do not belong together.
    """
    path = Path(path)
    types = get_type_hints(Truth)
    try:
        with np.load(path, allow_pickle=False) as archive:  # an .npy file has no `with`: TypeError
            version = int(archive["format_version"])
            if version != FORMAT_VERSION:
                raise InputError(f"{path}: format version {version}; this software reads version {FORMAT_VERSION}")
            values = {name: archive[name] for name in _stored()}
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be read as the truth of a simulation: {reason}") from error
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: cannot be read as the truth of a simulation: it is not the archive that `cryosphere simulate` "
            "writes as truth.npz, or it is damaged"
        ) from error
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]}; expected the truth.npz of `cryosphere simulate`") from None
    truth = Truth(**{name: v.item() if types[name] in (int, float, str) else v for name, v in values.items()})
    truth = truth.with_atoms(load_atoms(path.parent))
    _check(path, truth)
    return truth


def load_atoms(folder: Path) -> NDArray[np.float32] | None:
    """All atoms of every conformation, (K, n_atoms, 3), mapped from the disk; None where they were not kept.

    Raises:
        InputError: if the file is damaged.
    """
    path = folder / ATOMS
    try:
        atoms: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as the atoms of a simulation: {error}") from error
    if atoms.ndim != 3 or atoms.shape[2] != 3 or atoms.dtype != np.float32:
        raise InputError(
            f"{path}: has {atoms.dtype} of shape {atoms.shape}, expected float32 (conformations, atoms, 3)"
        )
    return atoms


def _stored() -> list[str]:
    """Names of the arrays in truth.npz."""
    return [field.name for field in fields(Truth) if field.name != "atoms"]


def _check(path: Path, truth: Truth) -> None:
    conformations, residues = truth.conformations.shape[:2]
    images = len(truth.conformation_index)
    expected = {
        "conformations": (conformations, residues, 3),
        "parameters": (conformations, len(truth.parameter_names)),
        "rotations": (images, 3, 3),
        "shifts": (images, 2),
        "base_positions": (residues, 3),
        "absent_sets": (len(truth.absent_sets), residues),
        "presence": (images, len(truth.absent_sets)),
        **dict.fromkeys(("chain", "residue_number", "insertion", "residue_name", "amplitudes", "domain"), (residues,)),
    }
    for name, shape in expected.items():
        if getattr(truth, name).shape != shape:
            raise InputError(f"{path}: {name} has shape {getattr(truth, name).shape}, expected {shape}")
    if truth.atoms is not None and len(truth.atoms) != conformations:
        raise InputError(f"{path}: {ATOMS} beside it has {len(truth.atoms)} conformations, the truth {conformations}")
    if images and not 0 <= truth.conformation_index.min() <= truth.conformation_index.max() < conformations:
        raise InputError(f"{path}: conformation_index points outside the {conformations} conformations")
