"""kill -9 at random moments: the next start goes on, to the numbers of an undisturbed run.

The short form kills twice or three times; `make test-faults` twenty times in a row.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cryosphere.training.checkpoints import load_latest
from cryosphere.training.second_look import SecondLook
from cryosphere.training.trained import TrainedModel

from .conftest import IMAGES, Bench

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL and fork are POSIX's")

TIMES = ["seconds", "epoch_seconds", "images_per_second"]
SHORT, LONG = 2, 20
KILLS = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]


def seed_of(name: str, kills: int) -> np.random.Generator:
    return np.random.default_rng([kills, *name.encode()])


def assert_same_run(run: Path, expected: Path) -> None:
    metrics, others = (pd.read_csv(folder / "metrics.csv").drop(columns=TIMES) for folder in (run, expected))
    pd.testing.assert_frame_equal(metrics, others, check_exact=True)
    found, wanted = (load_latest(folder / "checkpoints") for folder in (run, expected))
    assert found is not None
    assert wanted is not None
    assert found.tensors.keys() == wanted.tensors.keys()
    assert all(torch.equal(tensor, wanted.tensors[name]) for name, tensor in found.tensors.items())
    looks = [SecondLook.load(folder / "second_look.npz") for folder in (run, expected)]
    assert np.array_equal(looks[0].mean, looks[1].mean)
    latents = [TrainedModel.load(folder, device="cpu").encode().mean for folder in (run, expected)]
    assert np.array_equal(latents[0], latents[1])


def kill_until_done(bench: Bench, kills: int, longest: float, name: str, *options: object, slow_steps: float) -> int:
    """Begin or resume, and kill after a random time of up to `longest` seconds; at last wait for the end."""
    moments = seed_of(name, kills)
    done = 0
    while done < kills:
        command = bench.nursery.start(*bench.begin_or_resume(*options), slow_steps=slow_steps)
        time.sleep(moments.uniform(0.05, longest))
        command.kill()
        code = command.wait()
        assert code in (-9, 0), command.said
        if code == 0:
            break  # it was faster than all the kills
        done += 1
    code, said = bench.nursery.run(*bench.begin_or_resume(*options))
    assert code == 0, said
    return done


@pytest.mark.parametrize("kills", KILLS)
def test_training_ends_with_the_same_numbers(bench: Bench, undisturbed: Bench, kills: int) -> None:
    assert kill_until_done(bench, kills, 1.6, "training", slow_steps=0.02) == kills
    assert_same_run(bench.run, undisturbed.run)
    assert bench.left_over() == []


@pytest.mark.parametrize("kills", KILLS)
def test_checkpoints_after_every_step_are_whole_or_absent(bench: Bench, undisturbed: Bench, kills: int) -> None:
    always = ("--set", "training.checkpoint_minutes=1e-9")
    assert kill_until_done(bench, kills, 1.2, "checkpoints", *always, slow_steps=0.01) == kills
    assert_same_run(bench.run, undisturbed.run)
    assert bench.left_over() == []


@pytest.mark.parametrize("kills", KILLS)
def test_preprocessing_goes_on_where_it_was(bench: Bench, undisturbed: Bench, kills: int) -> None:
    """Sixty batches of four images, most of a second and a half: later starts find more and more of them done."""
    moments = seed_of("preprocessing", kills)
    cache, longest = bench.runs / "cryosphere-cache", 0.4
    for _ in range(kills):
        if list(cache.glob("spectra-*.npy")):
            shutil.rmtree(cache)  # and once more from the beginning
        command = bench.nursery.start(*bench.training(), slow_images=0.03)
        while not cache.exists():
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, longest))
        command.kill()
        assert command.wait() == -9, command.said
    code, said = bench.nursery.run(*bench.training())
    assert code == 0, said
    assert f"of {IMAGES} rows were there already" in said
    [made], [expected] = ((b.runs / "cryosphere-cache").glob("spectra-*.npy") for b in (bench, undisturbed))
    assert made.read_bytes() == expected.read_bytes()
    assert_same_run(bench.run, undisturbed.run)
    assert bench.left_over() == []


@pytest.mark.parametrize("kills", KILLS)
def test_an_analysis_is_there_as_a_whole_or_not_at_all(finished: Bench, tmp_path: Path, kills: int) -> None:
    moments = seed_of("analysis", kills)
    command = ["analyze", finished.run, "--device", "cpu"]
    began = time.monotonic()
    code, said = finished.nursery.run(*command)
    assert code == 0, said
    longest = time.monotonic() - began
    expected = (finished.run / "analysis").rename(tmp_path / "expected")
    for number in range(kills):
        killed = finished.nursery.start(*command)
        time.sleep(moments.uniform(0.0, longest))
        killed.kill()
        killed.wait()
        if (finished.run / "analysis").exists():
            assert_same_analysis(finished.run / "analysis", expected)
        if number % 2:  # half of the time there is one that is to be replaced
            shutil.copytree(expected, finished.run / "analysis", dirs_exist_ok=True)
    code, said = finished.nursery.run(*command)
    assert code == 0, said
    assert_same_analysis(finished.run / "analysis", expected)
    assert finished.left_over() == []


def assert_same_analysis(folder: Path, expected: Path) -> None:
    found, wanted = ({str(path.relative_to(f)) for path in f.rglob("*")} for f in (folder, expected))
    assert found == wanted
    for name in sorted(name for name in wanted if name.endswith((".npy", ".csv"))):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
