"""Files that would run a program when unpickled, in the place of every file that is read: refused, and nothing runs.

Particle files (.cs) have such a test of their own, in tests/particles.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cryosphere.cli.main import run as cryosphere

from .conftest import Bench


class Bomb:
    """Whoever unpickles it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def plain_pickle(bomb: Bomb) -> bytes:
    return pickle.dumps(bomb)


def npy(bomb: Bomb) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([bomb], dtype=object), allow_pickle=True)
    return stream.getvalue()


def npz(bomb: Bomb) -> bytes:
    """All the names that any of our archives has, each with a bomb."""
    names = ("rows", "mean", "sd", "looked_at", "step", "format_version", "conformations", "rotations", "z")
    stream = io.BytesIO()
    np.savez(stream, **dict.fromkeys(names, np.array([bomb], dtype=object)))
    return stream.getvalue()


def torch_file(bomb: Bomb) -> bytes:
    stream = io.BytesIO()
    torch.save({"model": bomb}, stream)
    return stream.getvalue()


KINDS = [plain_pickle, npy, npz, torch_file]
Make = Callable[[Bomb], bytes]


@pytest.fixture
def bomb(tmp_path: Path) -> Bomb:
    return Bomb(tmp_path / "ran")


@pytest.mark.parametrize("make", KINDS)
def test_the_bomb_goes_off_where_files_are_unpickled(bomb: Bomb, make: Make, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(make(bomb))
    if make is torch_file:
        torch.load(path, weights_only=False)
    elif make is npz:
        np.load(path, allow_pickle=True)["rows"]
    else:
        np.load(path, allow_pickle=True)
    assert bomb.mark.exists()


@pytest.mark.parametrize("make", KINDS)
def test_checkpoints(finished: Bench, bomb: Bomb, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (finished.run / "checkpoints").iterdir():
        path.write_bytes(make(bomb))
    for command in (finished.resuming(), ["analyze", finished.run]):
        assert cryosphere(list(map(str, command))) == 2
        assert "checkpoints" in capsys.readouterr().err
    assert not bomb.mark.exists()


@pytest.mark.parametrize("make", KINDS)
def test_latents_truth_and_second_look(
    finished: Bench, bomb: Bomb, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    given = finished.runs / "given.npz"
    given.write_bytes(make(bomb))
    structures = ["structures", finished.run, "--output", finished.runs / "s.npz"]
    for command in ([*structures, "--z", given], ["evaluate", finished.run, "--truth", given]):
        assert cryosphere(list(map(str, command))) == 2
        assert str(given) in capsys.readouterr().err
    (finished.run / "second_look.npz").write_bytes(make(bomb))
    assert cryosphere(list(map(str, structures))) == 2
    assert "second_look.npz" in capsys.readouterr().err
    assert not bomb.mark.exists()
    assert not (finished.runs / "s.npz").exists()


@pytest.mark.parametrize("make", [npy, torch_file])
def test_caches_are_made_again(bench: Bench, bomb: Bomb, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert cryosphere(list(map(str, bench.training(epochs=1)))) == 0
    caches = sorted((bench.runs / "cryosphere-cache").iterdir())
    sound = [path.read_bytes() for path in caches]
    for path, content in zip(caches, sound, strict=True):
        path.write_bytes((made := make(bomb)) + content[len(made) :])  # of the right length, too
    command = ["structures", bench.run, "--output", bench.runs / "s.npz", "--indices", "0:3"]
    assert cryosphere(list(map(str, command))) == 0
    assert "is damaged and is made again" in capsys.readouterr().err
    assert [len(path.read_bytes()) for path in caches] == [len(content) for content in sound]
    assert not bomb.mark.exists()
