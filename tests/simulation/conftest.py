"""A small two-chain protein as a PDB file, and configurations that image it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryosphere.settings import validate
from cryosphere.simulation.config import SimulationConfig

CHAIN_LENGTH = 20


def helix(count: int, start: np.ndarray) -> np.ndarray:
    """Cα positions of an α-helix along z: 1.5 Å rise, 100° turn, 2.3 Å radius; neighbours 3.8 Å apart."""
    steps = np.arange(count)
    turn = np.deg2rad(100.0 * steps)
    return start + np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * steps], axis=1)


def pdb_atom(serial: int, name: str, residue: str, chain: str, number: int, position: Any, element: str) -> str:
    x, y, z = position
    return (
        f"ATOM  {serial:5d} {name:<4s} {residue:3s} {chain}{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
        f"  1.00  0.00          {element:>2s}\n"
    )


@pytest.fixture
def protein(tmp_path: Path) -> Path:
    """Two helices of 20 alanines, chains A (101 …) and B (1 …), away from the origin."""
    positions = np.concatenate(
        [helix(CHAIN_LENGTH, np.array([5.0, -3.0, 0.0])), helix(CHAIN_LENGTH, np.array([20.0, 4.0, 2.0]))]
    )
    lines = [
        pdb_atom(
            i + 1,
            " CA",
            "ALA",
            "AB"[i // CHAIN_LENGTH],
            (101, 1)[i // CHAIN_LENGTH] + i % CHAIN_LENGTH,
            position,
            "C",
        )
        for i, position in enumerate(positions)
    ]
    path = tmp_path / "protein.pdb"
    path.write_text("".join([*lines[:CHAIN_LENGTH], "TER\n", *lines[CHAIN_LENGTH:], "TER\nEND\n"]))
    return path


def hinge_config(model: Path, **images: Any) -> SimulationConfig:
    """The last ten residues of chain B turn about z by 0 to 60°."""
    return configuration(
        {
            "model": model,
            "motion": {
                "kind": "hinge",
                "domains": [{"residues": [{"chain": "B", "first": 11}], "axis": [0, 0, 1]}],
                "angles": {"kind": "uniform", "low_degrees": 0, "high_degrees": 60},
                "conformations": 7,
            },
            "images": {"count": 40, "box": 32, "pixel_size": 2.0, "snr": 0.5, "shift": 4.0} | images,
        }
    )


def configuration(values: dict[str, Any]) -> SimulationConfig:
    return validate(SimulationConfig, values, origin="the test")
