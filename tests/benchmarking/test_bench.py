"""The benchmark times what training does, stage by stage, and refuses sizes that are no sizes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from cryosphere.benchmarking import bench as bench_module
from cryosphere.benchmarking import step as step_module
from cryosphere.benchmarking.bench import bench
from cryosphere.benchmarking.problem import BenchSettings, made_up
from cryosphere.benchmarking.stages import STAGES, stages_of
from cryosphere.benchmarking.step import LAPS, Step, seconds_per_step
from cryosphere.benchmarking.table import table
from cryosphere.cli.main import run
from cryosphere.errors import ConfigError
from cryosphere.training.build import build_model
from cryosphere.training.step import Stepper

SMALL = BenchSettings(box=48, residues=20, segments=3, batch_size=4, repeats=2)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def problem():
    with made_up(SMALL, CPU) as made:
        yield made


@pytest.fixture(scope="module")
def hurried():
    """Nothing is timed more often than it must be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryosphere.benchmarking.stages.SECONDS", 0.0)
        patch.setattr("cryosphere.benchmarking.bench._SECONDS", 0.0)
        patch.setattr("cryosphere.benchmarking.floor._SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def measured(hurried):
    return bench(SMALL, device="cpu")


def take(step, problem, count):
    loader = problem.loader(step.model)
    for batch in loader.batches(problem.rows(count, SMALL.batch_size), SMALL.batch_size):
        step.take(batch)


def test_every_stage_of_both_kinds_of_step_takes_its_time(measured):
    for speed in (measured.spread, measured.reference):
        assert tuple(speed.stages_ms) == STAGES
        assert min(speed.stages_ms.values()) >= 0
        assert speed.stages_ms["load"] > 0 and speed.stages_ms["optimiser"] > 0
        assert speed.images_per_second == pytest.approx(4000 / speed.step_ms)
        assert speed.peak_memory_bytes > 1e7


def test_all_stages_but_loading_are_set_against_the_whole_step(measured):
    for speed in (measured.spread, measured.reference):
        together = sum(speed.stages_ms.values()) - speed.stages_ms["load"]
        assert speed.stages_over_step == pytest.approx(together / speed.step_ms)


@pytest.mark.parametrize(("slower", "doubts"), [(0.6, 1), (0.7, 0), (1.0, 0), (1.4, 0), (1.6, 1)])
def test_stages_that_do_not_add_up_to_the_step_are_told_of(hurried, monkeypatch, slower, doubts):
    """The whole step takes as long as the clock says, here 1 s; all six stages together `slower` times as long."""
    monkeypatch.setattr(bench_module, "seconds_per_step", lambda *_: [1.0])
    stages = dict.fromkeys(STAGES, 1e3 * slower / 6) | {"load": 1e6}
    monkeypatch.setattr(bench_module, "stages_of", lambda *_: stages)
    found = bench(SMALL, device="cpu", literal=False)
    assert len(found.doubts) == len(found.as_dict()["doubts"]) == doubts
    told = f"The stages of the spread step add up to {slower:.2g} times the whole step" in table(found)
    assert told == bool(doubts)


def test_the_literal_step_is_doubted_by_itself(hurried, monkeypatch):
    took = iter([[1.0], [2.0]])
    monkeypatch.setattr(bench_module, "seconds_per_step", lambda *_: next(took))
    monkeypatch.setattr(bench_module, "stages_of", lambda *_: dict.fromkeys(STAGES, 1e3 / 6))
    (doubt,) = bench(SMALL, device="cpu").doubts
    assert "literal step add up to 0.5 times" in doubt


def test_the_speed_up_is_that_in_images_per_second(measured):
    ratio = measured.spread.images_per_second / measured.reference.images_per_second
    assert measured.step_speedup == pytest.approx(ratio)


def test_the_table_names_stages_both_kinds_of_step_and_the_floor(measured):
    text = table(measured)
    for name in (*STAGES, "spread", "literal", "floor", "images per second", "20 residues, 3 segments", "GB/s"):
        assert name in text


def test_the_table_says_where_the_literal_step_was_given_fewer_images(measured):
    fewer = replace(measured, reference=replace(measured.reference, images=2))
    assert "timed on 2 of 4 images" in table(fewer)
    assert "of 4 images" not in table(measured)


def test_without_the_literal_step_nothing_is_said_of_it(measured):
    text = table(replace(measured, reference=None, step_speedup=None))
    assert "the paper" not in text
    assert "-" in text


def test_laps_add_up_to_the_step_by_a_clock_that_ticks_once_a_look(problem, monkeypatch):
    """On such a clock a step is as long as it has laps: one after each stage."""
    ticks = iter(range(1000))
    monkeypatch.setattr(step_module, "now", lambda device: next(ticks))
    step = Step(problem.fast_model(), problem.config, SMALL.batch_size)
    batch = problem.loader(step.model).batch(problem.rows(1, SMALL.batch_size))
    assert step.laps(batch) == dict.fromkeys(LAPS, 1000.0)
    assert not {"inference", "forward"} & set(vars(step.model)), "the model is as before"
    assert "find_gradient" not in vars(step.stepper)


def test_the_step_is_the_trainers_with_its_optimiser_clipping_and_averages(problem):
    step = Step(problem.fast_model(), problem.config, SMALL.batch_size)
    assert isinstance(step.stepper, Stepper)
    before = [p.detach().clone() for p in step.model.parameters()]
    running = step.model.running_correlation.clone()
    take(step, problem, 3)
    optimizer = step.stepper.optimizer.optimizer
    assert {int(state["step"]) for state in optimizer.state.values()} == {3}
    assert {group["lr"] for group in optimizer.param_groups} == {3e-3, 1e-2}  # the settings' defaults
    assert step.averages.images == 3 * SMALL.batch_size
    assert step.model.running_correlation != running
    changed = [not torch.equal(a, b) for a, b in zip(before, step.model.parameters(), strict=True)]
    assert all(changed)


def test_the_first_step_does_not_count_and_enough_steps_do(problem, monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(step_module, "now", lambda device: float(next(ticks)))
    step = Step(problem.fast_model(), problem.config, SMALL.batch_size)
    batches = [problem.loader(step.model).batch(problem.rows(1, 4))] * 10
    assert seconds_per_step(step, batches, 2, 0.0) == [1.0, 1.0]
    assert step.count == 3
    assert len(seconds_per_step(step, batches, 2, 1e9)) == 9, "all there are, if time is left"


def test_stages_are_also_told_apart_where_beads_come_near_the_border(hurried):
    with made_up(replace(SMALL, box=24), CPU) as narrow:
        step = Step(narrow.fast_model(), narrow.config, SMALL.batch_size)
        loader = narrow.loader(step.model)
        found = stages_of(step, lambda: loader.batch(narrow.rows(1, SMALL.batch_size)), 2)
    assert found["project"] > 0


def test_images_are_drawn_anew_for_every_step(problem):
    rows = problem.rows(3, 4).reshape(3, 4)
    assert all(len(set(some)) == 4 for some in rows.tolist())
    assert len({tuple(some) for some in rows.tolist()}) == 3


def test_the_literal_step_looks_at_all_pixels_and_the_fast_one_at_what_beads_can_show(problem):
    assert problem.literal_model().projector.grid.box == 48
    assert problem.fast_model().projector.grid.box == 30  # 48 Å / 3.38 Å: 14 frequencies each way, Nyquist apart


def test_literal_and_fast_step_give_the_same_correlations_of_the_same_pixels(problem):
    """Spread beads are right to 3·10⁻⁵, segments followed in part to 10⁻⁴ Å."""
    literal = problem.literal_model()
    count = len(problem.images)
    whole = build_model(problem.config, problem.beads, problem.grid, count, CPU, whole_images=True).train()
    batch = problem.loader(literal).batch(problem.rows(1, 4))
    found = []
    for model in (literal, whole):
        z = torch.linspace(-1, 1, 4 * model.decoder.latent_dim).reshape(4, -1)
        positions, _ = model.structures(z, model.segmentation(draw=False))
        found.append(model.explain(positions, batch))
    largest = float(found[0].detach().abs().max())
    assert torch.allclose(*found, atol=1e-3 * largest)


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


@pytest.mark.parametrize("option", ["--box", "--residues", "--segments", "--batch-size", "--pixel-size"])
def test_the_command_line_returns_2_for_a_size_of_0(option, capsys):
    assert run(["bench", option, "0"]) == 2
    said = capsys.readouterr().err
    assert f"{option} is 0" in said or "pixel size must be positive" in said


def test_json_has_the_images_per_second_and_no_literal_step_when_none_is_asked_for(hurried, capsys):
    size = ["--box", "32", "--residues", "20", "--segments", "3", "--batch-size", "4"]
    assert run(["bench", *size, "--device", "cpu", "--no-literal", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["spread"]["images_per_second"] > 0
    assert found["reference"] is None
    assert found["settings"]["residues"] == 20
