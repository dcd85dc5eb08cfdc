"""A disk that is full, whatever is being written: exit code 2, one message, nothing half-written, nothing lost.

A full disk is a filesystem in memory of a few hundred kilobytes, where the tests may mount one; elsewhere, and for what
is written in few bytes, a limit on the size of files, which the system reports likewise.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryosphere.errors import DiskFullError
from cryosphere.files import is_disk_full, replacing, write_text
from cryosphere.training.checkpoints import load_latest

from .conftest import Bench, wait_for
from .test_kill import assert_same_analysis, assert_same_run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits on files are POSIX's")

KIB = 1024


def assert_full(code: int, said: str) -> None:
    assert code == 2, said
    assert "Traceback" not in said
    assert said.count("cryosphere: ") == 1, said
    assert any(words in said for words in ("quota is full", "are free", "No space left", "File too large")), said


def sizes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of its own, whose size the test sets with `resize`."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or mount(place, "size=64m").returncode != 0:
        pytest.skip("no filesystem can be mounted here: it takes root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def mount(place: Path, options: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
    )


def leave_free(place: Path, kib: int) -> None:
    """Fill the disk, but for some KiB."""
    filler = place / "filler"
    filler.unlink(missing_ok=True)
    state = os.statvfs(place)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, state.f_bavail * state.f_frsize - kib * KIB))


def on(place: Path, bench: Bench) -> Bench:
    return Bench(bench.data, place, bench.nursery)


# training


@pytest.mark.parametrize("limit", [10, 100, pytest.param(700, marks=pytest.mark.long)])
def test_before_training_begins_nothing_is_left(bench: Bench, limit: int) -> None:
    """10 KiB are too little for model and particles, 100 for images and features."""
    code, said = bench.nursery.run(*bench.training(), file_limit=limit * KIB)
    if limit < 700:
        assert_full(code, said)
        assert sizes(bench.runs) == {}
        assert list(bench.runs.iterdir()) == []
    else:
        assert code == 0, said  # or the test asks nothing


@pytest.mark.parametrize("free", [320, *(pytest.param(kib, marks=pytest.mark.long) for kib in (0, 40, 600))])
def test_a_run_that_fills_the_disk_goes_on_when_there_is_room(
    small_disk: Path, bench: Bench, undisturbed: Bench, free: int
) -> None:
    there = on(small_disk, bench)
    leave_free(small_disk, free)
    code, said = bench.nursery.run(*there.training())
    assert_full(code, said)
    assert there.left_over() == []
    assert not list(small_disk.rglob("*.part"))
    (small_disk / "filler").unlink()
    code, said = bench.nursery.run(*there.begin_or_resume())
    assert code == 0, said
    assert_same_run(there.run, undisturbed.run)


def test_the_checkpoint_before_stays_when_the_next_finds_no_room(
    small_disk: Path, bench: Bench, undisturbed: Bench
) -> None:
    there = on(small_disk, bench)
    started = bench.nursery.start(*there.training(), slow_steps=0.02)
    wait_for(lambda: list(small_disk.glob("a/checkpoints/step_*")), started)
    leave_free(small_disk, 0)
    assert_full(started.wait(), started.said)
    kept = load_latest(there.run / "checkpoints")
    assert kept is not None
    assert kept.facts["state"]["epoch"] >= 1
    assert there.left_over() == []
    (small_disk / "filler").unlink()
    code, said = bench.nursery.run(*there.resuming())
    assert code == 0, said
    assert_same_run(there.run, undisturbed.run)


def test_replacing_a_run_on_a_full_disk_keeps_it(finished: Bench) -> None:
    before = sizes(finished.run)
    code, said = finished.nursery.run(*finished.training("--overwrite", "--seed", 5), file_limit=10 * KIB)
    assert_full(code, said)
    assert sizes(finished.run) == before
    assert finished.left_over() == []


# what comes after training


def test_an_analysis_without_room_leaves_the_earlier_one(finished: Bench) -> None:
    command = ["analyze", finished.run, "--device", "cpu"]
    code, said = finished.nursery.run(*command)
    assert code == 0, said
    kept = shutil.copytree(finished.run / "analysis", finished.runs / "kept")
    largest = max(sizes(kept).values()) // KIB
    for limit in (0.3, 1, 4, 16, 64, largest - 1):  # KiB: z.npy, tables, structures, pictures, the report
        code, said = finished.nursery.run(*command, file_limit=int(limit * KIB))
        assert_full(code, said)
        assert_same_analysis(finished.run / "analysis", kept)
        assert finished.left_over() == []


@pytest.mark.parametrize("limit", [0.3, 2, 20])
def test_an_evaluation_without_room(finished: Bench, limit: float) -> None:
    cheap = ["--oracle-images", 0, "--fsc-images", 0, "--structure-images", 5, "--device", "cpu"]
    command = ["evaluate", finished.run, "--truth", finished.data / "truth.npz", *cheap]
    code, said = finished.nursery.run(*command, file_limit=int(limit * KIB))
    assert_full(code, said)
    assert finished.left_over() == []
    assert not (finished.run / "evaluation" / "evaluation.html").exists()


@pytest.mark.parametrize("output", ["s.npz", "s"])
def test_structures_without_room(finished: Bench, output: str) -> None:
    target = finished.runs / output
    command = ["structures", finished.run, "--output", target, "--indices", "0:3", "--device", "cpu"]
    code, said = finished.nursery.run(*command, file_limit=2 * KIB)
    assert_full(code, said)
    assert not list(finished.runs.rglob("structure_*"))
    assert not (finished.runs / "s.npz").exists()
    assert finished.left_over() == []


@pytest.mark.parametrize("limit", [2, 20])
def test_simulated_and_projected_stacks_without_room(bench: Bench, limit: int) -> None:
    shutil.copy(bench.data / "simulation.yaml", bench.runs)
    config = ["simulate", bench.runs / "simulation.yaml", "--outdir", bench.runs / "simulated"]
    inputs = ["--model", bench.data / "model.cif", "--particles", bench.data / "particles.star"]
    for command in (config, ["project", *inputs, "--output", bench.runs / "p.mrcs"]):
        code, said = bench.nursery.run(*command, file_limit=limit * KIB)
        assert_full(code, said)
        assert [path.name for path in bench.runs.iterdir()] == ["simulation.yaml"]


def test_a_simulation_whose_truth_finds_no_room_goes_on(small_disk: Path, bench: Bench) -> None:
    config = small_disk / "simulation.yaml"
    shutil.copy(bench.data / "simulation.yaml", config)
    command = ["simulate", config, "--outdir", small_disk / "simulated"]
    leave_free(small_disk, 1000)  # KiB: the images take 961
    code, said = bench.nursery.run(*command)
    assert_full(code, said)
    (small_disk / "filler").unlink()
    code, said = bench.nursery.run(*command)
    assert code == 0, said
    same = ("particles.mrcs", "truth.npz")
    assert all((small_disk / "simulated" / name).read_bytes() == (bench.data / name).read_bytes() for name in same)


def test_a_stack_on_a_disk_without_a_single_block(small_disk: Path, bench: Bench) -> None:
    leave_free(small_disk, 0)
    inputs = ["--model", bench.data / "model.cif", "--particles", bench.data / "particles.star"]
    code, said = bench.nursery.run("project", *inputs, "--output", small_disk / "p.mrcs")
    assert_full(code, said)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


# the one way to write


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    write_text(path, "before")
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with pytest.raises(DiskFullError, match=rf"{path}: the disk or quota is full"), replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(number, os.strerror(number))
        assert path.read_text() == "before"
        assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_known_in_the_words_of_every_library() -> None:
    assert is_disk_full(OSError("3072 requested and 512 written"))  # numpy.save, which drops the error's number
    assert is_disk_full(RuntimeError("write failed: No space left on device"))
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))
    assert not is_disk_full(ValueError("3 images requested"))
