"""The benchmark times what training does, and refuses sizes that are no sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cryosphere.cli.main import run
from cryosphere.errors import ConfigError
from cryosphere.training import bench as bench_module
from cryosphere.training.bench import BenchSettings, bench, table

SMALL = BenchSettings(box=16, residues=20, segments=3, batch_size=4, repeats=2)
STAGES = ["encode", "decode and deform", "project and compare", "losses", "backward", "update"]


@pytest.fixture(scope="module")
def measured():
    return bench(SMALL, device="cpu")


def test_every_stage_takes_its_time(measured):
    assert list(measured.stages_ms) == STAGES
    assert min(measured.stages_ms.values()) > 0
    assert measured.spread.step_ms > 0
    assert measured.spread.images_per_second == pytest.approx(4000 / measured.spread.step_ms)


def test_the_table_names_stages_and_both_projectors(measured):
    text = table(measured)
    for name in (*STAGES, "literal", "images per second", "20 residues, 3 segments"):
        assert name in text


def test_stages_add_up_to_the_step_by_a_clock_that_ticks_once_a_look(monkeypatch):
    """On such a clock a step is as long as it has laps: one after each stage."""
    ticks = iter(range(1000))
    monkeypatch.setattr(bench_module, "_now", lambda device: next(ticks))
    model, batch, training = bench_module._problem(SMALL, torch.device("cpu"))
    laps = bench_module._Step(model, batch, training).laps()
    assert laps == dict.fromkeys(STAGES, 1000.0)
    assert "inference" not in vars(model), "the model is as before"


def test_one_optimiser_takes_clipped_steps(monkeypatch):
    made, norms = [], []
    optimizer, clip = torch.optim.AdamW, torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(bench_module, "AdamW", lambda *a, **k: made.append(optimizer(*a, **k)) or made[-1])
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda p, norm: norms.append(norm) or clip(p, norm))
    bench(SMALL, device="cpu")
    assert len(made) == 1
    assert len(norms) == 3 * (SMALL.repeats + 1)  # fast, in stages, literal; one of each does not count
    assert set(norms) == {1.0}  # training.gradient_clip's default
    moments = [state["step"] for state in made[0].state.values()]
    assert {int(step) for step in moments} == {len(norms)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"box": 0}, "--box is 0"),
        ({"residues": 0}, "--residues is 0"),
        ({"segments": 0}, "--segments is 0"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"batch_size": -3}, "--batch-size is -3"),
        ({"repeats": 0}, "--repeats is 0"),
        ({"segments": 21}, "21 segments of 20 residues"),
        ({"pixel_size": 0.0}, "must be positive"),
        ({"pixel_size": float("nan")}, "must be positive"),
    ],
)
def test_sizes_that_are_none_are_refused(changes, says):
    with pytest.raises(ConfigError, match=says):
        bench(replace(SMALL, **changes), device="cpu")


@pytest.mark.parametrize("option", ["--box", "--residues", "--segments", "--batch-size"])
def test_the_command_line_returns_2_for_a_size_of_0(option, capsys):
    assert run(["bench", option, "0"]) == 2
    assert f"{option} is 0" in capsys.readouterr().err
