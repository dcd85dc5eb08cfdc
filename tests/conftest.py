"""Shared fixtures, and the shapes that tensor functions state, checked in every test."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest

# Installed before anything of cryosphere is imported: in the rooms with tensor functions every call is held to the
# shapes, dtypes and types that are written at the function. An int may stand for a float, as for mypy. Outside the
# tests nothing is checked and nothing is slower.
CHECKED_ROOMS = (
    "cryosphere.doctor.comparing",
    "cryosphere.doctor.offset",
    "cryosphere.doctor.order",
    "cryosphere.doctor.signal",
    "cryosphere.fourier",
    "cryosphere.geometry",
    "cryosphere.imaging",
    "cryosphere.maps.density",
    "cryosphere.maps.division",
    "cryosphere.maps.fitting.candidates",
    "cryosphere.maps.fitting.landscape",
    "cryosphere.maps.fitting.refinement",
    "cryosphere.maps.fitting.rotations",
    "cryosphere.maps.fsc",
    "cryosphere.maps.insertion",
    "cryosphere.maps.insertion_compiled",
    "cryosphere.maps.insertion_tensors",
    "cryosphere.maps.resolution",
    "cryosphere.maps.slices",
    "cryosphere.model",
    "cryosphere.particles.preprocess",
    "cryosphere.structures.neighbours",
)
jaxtyping.install_import_hook(CHECKED_ROOMS, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

_PLACES = (
    os.environ.get("CRYOSPHERE_SHARED_DATA", ""),
    str(Path(__file__).resolve().parents[2] / "shared" / "data"),
)


@pytest.fixture(autouse=True)
def _quiet_logging() -> None:
    """Commands turn logging on for the whole process: every test begins without what an earlier one left."""
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__name__ != "ConsoleHandler"]
    root.setLevel(logging.WARNING)
    logging.getLogger("cryosphere").setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of files written by RELION, cryoSPARC and others; not part of this repository."""
    for place in _PLACES:
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip("real test files not found: set CRYOSPHERE_SHARED_DATA or put them in ../shared/data")


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """No run-time checks: for tests of what the package itself says of a wrong type."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def no_warnings() -> Iterator[None]:
    """A warning of matplotlib's is a label that does not fit or a range that is empty.

    Not one of files that earlier tests left to the garbage collector, which may come by at any time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)
        yield


@pytest.fixture
def is_picture() -> Callable[[object], bool]:
    """Whether a figure becomes a PNG file that is not empty."""
    from cryosphere.presentation.style import png

    def drawn(figure: object) -> bool:
        content = png(figure)
        return content.startswith(b"\x89PNG") and len(content) > 3000

    return drawn
