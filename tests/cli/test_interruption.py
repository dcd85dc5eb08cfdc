"""A training that is stopped or killed from outside loses nothing and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

EPOCHS = 25


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    inputs = ["--particles", str(folder / "particles.star"), "--model", str(folder / "model.cif")]
    cheap = ["--epochs", str(EPOCHS), "--segments", "2", "--batch-size", "16", "--outdir", str(folder / "runs/a")]
    command = [sys.executable, "-m", "cryosphere", "train", *inputs, *cheap, *options]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_training_goes_on(place, number):
    process = start(place.folder)
    wait_for(place.run / "metrics.csv", process)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert "Traceback" not in said
        assert f"cryosphere train --outdir {place.run} --resume" in said
    assert len(pd.read_csv(place.run / "metrics.csv")) < EPOCHS
    place.cryosphere("-q", "train", "--outdir", place.run, "--resume").succeeds()
    assert pd.read_csv(place.run / "metrics.csv")["epoch"].tolist() == list(range(1, EPOCHS + 1))
    assert not list(place.run.rglob(".*")), "temporary files"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_an_interruption_before_training_leaves_nothing_and_one_line(place, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cryosphere.particles.cache.preprocess_batch", interrupt)
    found = place.train("-q", "--set", "images.contrast=white")
    assert found.code == 130
    assert found.said == "cryosphere: interrupted\n"
    assert found.left == []
