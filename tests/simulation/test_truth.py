"""truth.npz: what is not one is refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from cryosphere.errors import InputError
from cryosphere.simulation.simulate import simulate
from cryosphere.simulation.truth import load_truth

from .conftest import hinge_config


@pytest.fixture
def truth_path(protein, tmp_path):
    return simulate(hinge_config(protein, count=4), tmp_path / "out").truth_path


def rewritten(path, **changes):
    with np.load(path) as archive:
        values = dict(archive)
    values.update(changes)
    np.savez(path, **{name: value for name, value in values.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rotations": None}, "rotations"),
        ({"format_version": np.int64(99)}, "version 99"),
        ({"shifts": np.zeros((3, 2))}, "shifts has shape"),
        ({"conformation_index": np.array([0, 1, 2, 400])}, "points outside"),
        ({"chain": np.array([{"a": 1}], dtype=object)}, "cannot be read"),
    ],
)
def test_what_does_not_belong_together_is_named(truth_path, changes, says):
    with pytest.raises(InputError, match=says):
        load_truth(rewritten(truth_path, **changes))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 damaged"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "truth.npz").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        load_truth(tmp_path / "truth.npz")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_truth(tmp_path / "truth.npz")


def test_a_truncated_archive_is_refused(truth_path):
    data = truth_path.read_bytes()
    truth_path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        load_truth(truth_path)
