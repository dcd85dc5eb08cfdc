"""Two commands on one run: the second is refused and writes nothing; what a killed one left is no obstacle."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from cryosphere.errors import OccupiedError
from cryosphere.locking import held, holder

from .conftest import Bench, wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are forked")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_second_training_is_refused(bench: Bench) -> None:
    first = bench.nursery.start(*bench.training(), slow_steps=60)
    wait_for((bench.run / "tensorboard").exists, first)
    time.sleep(0.2)
    before = contents(bench.run)
    for command in (bench.training(), bench.training("--overwrite"), bench.resuming()):
        code, said = bench.nursery.run(*command)
        assert code == 2, said
        assert f"{bench.run} is in use: training, by process {first.process} on {socket.gethostname()} since" in said
        assert "choose another --outdir" in said
    assert contents(bench.run) == before
    first.kill()
    first.wait()


def test_two_trainings_that_begin_at_once(bench: Bench) -> None:
    """Before there is a run, while the first still prepares its images."""
    first = bench.nursery.start(*bench.training(), slow_images=0.02)
    wait_for((bench.run / ".lock").exists, first)
    code, said = bench.nursery.run(*bench.training())
    assert code == 2
    assert "is in use" in said
    first.kill()
    first.wait()
    code, said = bench.nursery.run(*bench.training(epochs=1))
    assert code == 0, said
    assert bench.left_over() == []


def test_a_training_that_cannot_begin_leaves_no_folder(bench: Bench) -> None:
    code, said = bench.nursery.run(*bench.training("--set", "encoder.hiden=[4]"))
    assert code == 2, said
    code, said = bench.nursery.run(*bench.training("--set", "segmentation.parts=[{chain: Z, first: 1, last: 9}]"))
    assert code == 2, said
    assert list(bench.runs.iterdir()) == []


def test_analysis_and_evaluation_exclude_each_other_but_not_training(finished: Bench) -> None:
    truth = ["evaluate", finished.run, "--truth", finished.data / "truth.npz", "--device", "cpu"]
    (finished.run / "analysis").mkdir()
    with held(finished.run / ".lock-results", "analysis"):
        for command in (["analyze", finished.run], truth):
            code, said = finished.nursery.run(*command)
            assert code == 2, said
            assert f"{finished.run} is in use: analysis, by process {os.getpid()}" in said
        code, said = finished.nursery.run(*finished.resuming())  # it is finished: nothing to do
        assert code == 0, said
        code, said = finished.nursery.run(*finished.training("--overwrite"))  # would remove what is being written
        assert code == 2, said
        assert "is in use: analysis" in said
        assert (finished.run / "analysis").exists()
    with held(finished.run / ".lock", "training"):
        target = finished.runs / "s.npz"
        code, said = finished.nursery.run("structures", finished.run, "--output", target, "--indices", "0:3")
        assert code == 0, said  # reading is free


def test_a_lock_is_gone_afterwards_and_a_left_over_file_is_none(tmp_path: Path) -> None:
    lock = tmp_path / "new" / ".lock"
    with held(lock, "training"):
        assert holder(lock).startswith(f"training, by process {os.getpid()} on {socket.gethostname()} since 2")
        with pytest.raises(OccupiedError, match="training, by process"), held(lock, "analysis"):
            pass
        assert holder(lock).startswith("training")  # the loser has not written over it
    assert not lock.exists()
    lock.write_text('{"doing": "training", "process": 1, "host": "gone", "since": "2020"}')
    with held(lock, "training"):
        assert "2020" not in holder(lock)
    lock.write_text("half a senten")
    assert "another process, which has not said what it does" in holder(lock)
