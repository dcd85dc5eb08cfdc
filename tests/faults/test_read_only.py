"""Folders that cannot be written to: nothing is ever put beside the particles, and caches go into the run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from .conftest import Bench, Nursery

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")


@pytest.fixture
def project(data: Path, nursery: Nursery, tmp_path: Path) -> Iterator[Bench]:
    """A folder that cannot be written to, with the data set and an empty folder `a` that can."""
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("for root every folder can be written to")
    folder = tmp_path / "project"
    shutil.copytree(data, folder / "data")
    (folder / "a").mkdir()
    for path in (folder, folder / "data"):
        path.chmod(0o555)
    yield Bench(folder / "data", folder, nursery)
    for path in (folder, folder / "data"):
        path.chmod(0o755)


def caches(bench: Bench) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in (bench.run / "cache").iterdir())


def test_caches_go_into_the_run_and_belong_to_it(project: Bench) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.data.iterdir()}
    code, said = project.nursery.run(*project.training(epochs=1), obedient=True)
    assert code == 0, said
    words = f"{project.runs / 'cryosphere-cache'} cannot be written to: caches go to {project.run / 'cache'}"
    assert words in " ".join(said.split())
    assert caches(project) == ["lifted", "spectra"]
    first = {path.name for path in (project.run / "cache").iterdir()}

    target = project.run / "s.npz"
    code, said = project.nursery.run("structures", project.run, "--output", target, "--indices", "0:3", obedient=True)
    assert code == 0, said
    assert np.load(target)["coordinates"].shape == (3, 100, 3)

    anew = project.training("--overwrite", "--box", 24, epochs=1)
    code, said = project.nursery.run(*anew, obedient=True)
    assert code == 0, said
    assert caches(project) == ["lifted", "spectra"]
    assert not first & {path.name for path in (project.run / "cache").iterdir()}
    assert {path: path.stat().st_mtime_ns for path in project.data.iterdir()} == before
    assert sorted(path.name for path in project.runs.iterdir()) == ["a", "data"]


def test_what_another_user_has_left_unfinished_is_let_be(data: Path, bench: Bench) -> None:
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("root may write to every file")
    code, said = bench.nursery.run(*bench.training(epochs=1))
    assert code == 0, said
    [made] = (bench.runs / "cryosphere-cache").glob("spectra-*.npy")
    unfinished = made.rename(made.with_name(f".{made.name}.part"))
    unfinished.chmod(0o444)
    code, said = bench.nursery.run(*bench.training("--overwrite", epochs=1), obedient=True)
    assert code == 0, said
    assert caches(bench) == ["spectra"]
    assert unfinished.exists()


def test_a_run_cannot_be_made_where_nothing_can_be_written(project: Bench) -> None:
    there = Bench(project.data, project.data, project.nursery)
    code, said = project.nursery.run(*there.training(), obedient=True)
    assert code == 2, said
    assert f"no permission to write to {project.data}" in " ".join(said.split())


def test_what_lies_in_a_run_that_cannot_be_written_to_can_be_read(project: Bench, tmp_path: Path) -> None:
    code, said = project.nursery.run(*project.training(epochs=1))
    assert code == 0, said
    project.run.chmod(0o555)
    target = tmp_path / "s.npz"
    code, said = project.nursery.run("structures", project.run, "--output", target, "--indices", 3, obedient=True)
    assert code == 0, said
    for command in (["analyze", project.run], project.resuming()):
        code, said = project.nursery.run(*command, obedient=True)
        assert code == 2, said
        assert f"no permission to write to {project.run}" in " ".join(said.split())
    project.run.chmod(0o755)
