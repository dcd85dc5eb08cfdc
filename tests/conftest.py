"""Shared fixtures: the folder of real files written by other programs, and one CPU thread per test process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_PLACES = (
    os.environ.get("CRYOSPHERE_SHARED_DATA", ""),
    str(Path(__file__).resolve().parents[2] / "shared" / "data"),
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of files written by RELION, cryoSPARC and others; not part of this repository."""
    for place in _PLACES:
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip("real test files not found: set CRYOSPHERE_SHARED_DATA or put them in ../shared/data")
