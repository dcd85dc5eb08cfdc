"""Small particle files and stacks, written by hand so that every test can spoil its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.particles.table import OpticsGroup, ParticleTable

Columns = dict[str, list[str]]


def _optics() -> Columns:
    return {
        "rlnOpticsGroupName": ["krios", "glacios"],
        "rlnOpticsGroup": ["1", "2"],
        "rlnVoltage": ["300.000000", "200.000000"],
        "rlnSphericalAberration": ["2.700000", "1.400000"],
        "rlnAmplitudeContrast": ["0.100000", "0.070000"],
        "rlnImagePixelSize": ["1.500000", "1.500000"],
        "rlnImageSize": ["16", "16"],
        "rlnImageDimensionality": ["2", "2"],
    }


def _particles() -> Columns:
    return {
        "rlnCoordinateX": ["100.0"] * 4,
        "rlnImageName": ["000001@a.mrcs", "000003@a.mrcs", "000002@b.mrcs", "000002@a.mrcs"],
        "rlnMicrographName": ["mic1.mrc"] * 4,
        "rlnOpticsGroup": ["1", "1", "2", "1"],
        "rlnDefocusU": ["15000.0", "16000.0", "17000.0", "18000.0"],
        "rlnDefocusV": ["14500.0", "15500.0", "16500.0", "17500.0"],
        "rlnDefocusAngle": ["10.0", "20.0", "30.0", "40.0"],
        "rlnPhaseShift": ["0.0", "90.0", "0.0", "0.0"],
        "rlnAngleRot": ["10.0", "-20.0", "30.0", "0.0"],
        "rlnAngleTilt": ["40.0", "50.0", "60.0", "0.0"],
        "rlnAnglePsi": ["70.0", "80.0", "-90.0", "0.0"],
        "rlnOriginXAngst": ["1.5", "-3.0", "0.0", "4.5"],
        "rlnOriginYAngst": ["0.0", "6.0", "-1.5", "0.75"],
        "rlnRandomSubset": ["1", "2", "1", "2"],
    }


def _one_block() -> Columns:
    columns = _particles()
    for label in ("rlnOpticsGroup", "rlnOriginXAngst", "rlnOriginYAngst"):
        del columns[label]
    return columns | {
        "rlnVoltage": ["300.0"] * 4,
        "rlnSphericalAberration": ["2.7"] * 4,
        "rlnAmplitudeContrast": ["0.1"] * 4,
        "rlnMagnification": ["50000.0"] * 4,
        "rlnDetectorPixelSize": ["7.5"] * 4,  # µm: 7.5e4 Å / 5e4 = 1.5 Å per pixel
        "rlnOriginX": ["1.0", "-2.0", "0.0", "3.0"],  # pixels
        "rlnOriginY": ["0.0", "4.0", "-1.0", "0.5"],
    }


def star_block(name: str, columns: Mapping[str, Sequence[str]]) -> str:
    """A loop block as RELION lays it out."""
    labels = "".join(f"_{label} #{number} \n" for number, label in enumerate(columns, 1))
    rows = "".join(" ".join(row) + " \n" for row in zip(*columns.values(), strict=True))
    return f"\n# version 30001\n\ndata_{name}\n\nloop_ \n{labels}{rows}\n"


@pytest.fixture(scope="session")
def optics() -> Callable[[], Columns]:
    """Two optics groups, as text per label."""
    return _optics


@pytest.fixture(scope="session")
def particles() -> Callable[[], Columns]:
    """Four particles of a 3.1 file, as text per label."""
    return _particles


@pytest.fixture(scope="session")
def one_block() -> Callable[[], Columns]:
    """Four particles of a 3.0 file, as text per label; the same geometry as `particles`."""
    return _one_block


@pytest.fixture(scope="session")
def block() -> Callable[[str, Mapping[str, Sequence[str]]], str]:
    """Text of one block."""
    return star_block


@pytest.fixture
def star(tmp_path: Path) -> Callable[..., Path]:
    """Write a STAR file of the given blocks (name=columns), or of the given text."""

    def write(text: str | None = None, **blocks: Columns) -> Path:
        path = tmp_path / "particles.star"
        content = text if text is not None else "".join(star_block(name, block) for name, block in blocks.items())
        path.write_bytes(content.encode())
        return path

    return write


@pytest.fixture(scope="session")
def records() -> Callable[..., np.ndarray]:
    """Rows of a .cs file, with the columns of a refinement; further fields may be added, or named ones left out."""

    def make(count: int = 5, without: Sequence[str] = (), **changes: np.ndarray) -> np.ndarray:
        generator = np.random.default_rng(4)
        fields = {
            "uid": np.arange(count, dtype="u8") + 100,
            "blob/path": np.array([b">J1/extract/a.mrcs", b">J1/extract/b.mrcs"] * count)[:count],
            "blob/idx": np.arange(count, dtype="u4") // 2,
            "blob/shape": np.full((count, 2), 16, dtype="u4"),
            "blob/psize_A": np.full(count, 1.5, dtype="f4"),
            "blob/sign": np.full(count, -1, dtype="f4"),
            "ctf/accel_kv": np.where(np.arange(count) < 2, 300, 200).astype("f4"),
            "ctf/cs_mm": np.full(count, 2.7, dtype="f4"),
            "ctf/amp_contrast": np.full(count, 0.1, dtype="f4"),
            "ctf/df1_A": generator.uniform(1e4, 2e4, count).astype("f4"),
            "ctf/df2_A": generator.uniform(1e4, 2e4, count).astype("f4"),
            "ctf/df_angle_rad": generator.uniform(-1, 1, count).astype("f4"),
            "alignments3D/split": np.arange(count, dtype="u4") % 2,
            "alignments3D/shift": generator.uniform(-4, 4, (count, 2)).astype("f4"),
            "alignments3D/pose": generator.uniform(-1, 1, (count, 3)).astype("f4"),
            "alignments3D/psize_A": np.full(count, 3.0, dtype="f4"),
        }
        fields = {name.replace("__", "/"): v for name, v in {**fields, **changes}.items() if name not in without}
        table = np.empty(count, dtype=[(name, v.dtype, v.shape[1:]) for name, v in fields.items()])
        for name, values in fields.items():
            table[name] = values
        return table

    return make


@pytest.fixture
def cs(tmp_path: Path) -> Callable[..., Path]:
    """Write records as a .cs file."""

    def write(table: np.ndarray, name: str = "particles.cs") -> Path:
        path = tmp_path / name
        with path.open("wb") as file:
            np.save(file, table, allow_pickle=False)
        return path

    return write


@pytest.fixture(scope="session")
def write_stack() -> Callable[..., Path]:
    """Write images as an MRC stack through mrcfile, and give the path."""

    def write(path: Path, images: np.ndarray, pixel_size: float = 1.5) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(path, overwrite=True) as stack:
            stack.set_data(images)
            stack.set_image_stack()
            stack.voxel_size = pixel_size
        return path

    return write


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """White noise images, float32."""

    def make(count: int, box: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal((count, box, box), dtype=np.float32)

    return make


@pytest.fixture(scope="session")
def table_of() -> Callable[..., ParticleTable]:
    """A table of the given stacks and image numbers (from 0), with random poses."""

    def make(
        source: Path, stacks: Sequence[str], stack_index: Sequence[int], image_index: Sequence[int], **changes: object
    ) -> ParticleTable:
        generator = np.random.default_rng(5)
        count = len(stack_index)
        values: dict[str, object] = {
            "rotations": Rotation.random(count, random_state=generator).as_matrix(),
            "shifts": generator.uniform(-5, 5, (count, 2)),
            "defocus_u": generator.uniform(1e4, 2e4, count),
            "defocus_v": generator.uniform(1e4, 2e4, count),
            "defocus_angle": generator.uniform(-np.pi, np.pi, count),
            "phase_shift": generator.uniform(0, 1, count),
            "b_factor": generator.uniform(0, 50, count),
            "ctf_scale": generator.uniform(0.5, 1, count),
            "optics_index": np.zeros(count, dtype=np.int64),
            "stack_index": np.asarray(stack_index, dtype=np.int64),
            "image_index": np.asarray(image_index, dtype=np.int64),
            "half_set": np.arange(count, dtype=np.int64) % 2 + 1,
            "optics": (OpticsGroup("opticsGroup1", 300.0, 2.7, 0.1, 1.5, None),),
            "stacks": tuple(stacks),
            "source": source,
        }
        return ParticleTable(**{**values, **changes})  # type: ignore[arg-type]

    return make
