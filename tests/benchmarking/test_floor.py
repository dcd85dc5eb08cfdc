"""The floor counts what a step must move and compute, and the machine is measured."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cryosphere.benchmarking.bench import peak_memory
from cryosphere.benchmarking.floor import Machine, Work, floor_of, measure_machine, work_of
from cryosphere.benchmarking.literal import literal_images
from cryosphere.benchmarking.problem import BenchSettings, made_up
from cryosphere.benchmarking.stages import STAGES

CPU = torch.device("cpu")
SETTINGS = BenchSettings(box=48, residues=50, segments=4, batch_size=6)


@pytest.fixture(scope="module")
def problem():
    with made_up(SETTINGS, CPU) as made:
        yield made


@pytest.fixture(scope="module")
def work(problem):
    return work_of(problem.fast_model(), SETTINGS.batch_size, problem.features.shape[1])


def test_a_stage_takes_the_longer_of_moving_and_computing():
    machine = Machine(bytes_per_second=10.0, operations_per_second=100.0)
    assert Work(20, 100).seconds(machine) == 2.0
    assert Work(20, 500).seconds(machine) == 5.0


def test_the_floor_is_of_all_stages_together():
    machine = Machine(bytes_per_second=10.0, operations_per_second=100.0)
    floor = floor_of({"a": Work(10, 0), "b": Work(0, 300)}, machine, step_ms=9000.0)
    assert (floor.bytes_ms, floor.operations_ms, floor.floor_ms) == (1000.0, 3000.0, 3000.0)
    assert floor.step_over_floor == 3.0


def test_every_stage_has_its_work(work):
    assert tuple(work) == STAGES
    assert all(w.bytes > 0 for w in work.values())
    assert [stage for stage, w in work.items() if w.operations == 0] == ["load"]


def test_the_networks_products_are_those_that_pytorch_counts(problem, work):
    """PyTorch counts matrix products alone; biases are the rest, some thousandths."""
    model = problem.fast_model()
    batch = problem.loader(model).batch(problem.rows(1, SETTINGS.batch_size))
    with FlopCounterMode(display=False) as counted:
        posterior = model.inference(batch)
    assert work["encode"].operations == pytest.approx(counted.get_total_flops(), rel=0.01)
    with FlopCounterMode(display=False) as counted:
        posterior.mean.sum().backward()
    first = next(p for p in model.encoder.parameters())
    encoder = sum(p.numel() for p in model.encoder.parameters())
    ours = SETTINGS.batch_size * (4 * encoder - 2 * first.numel())
    assert ours == pytest.approx(counted.get_total_flops(), rel=0.01)


def test_images_are_moved_once_as_they_lie_on_disk(problem, work):
    """Half-spectra of the cropped box, two float16 each, and the features, one each."""
    box = problem.fast_model().projector.grid.box
    each = 4 * box * (box // 2 + 1) + 2 * problem.features.shape[1]
    assert work["load"].bytes == SETTINGS.batch_size * each


def test_the_optimiser_reads_four_numbers_for_a_parameter_and_writes_three(problem, work):
    parameters = sum(p.numel() for p in problem.fast_model().parameters())
    assert work["optimiser"].bytes == 7 * 4 * parameters


def test_twice_the_images_are_twice_the_work_but_for_the_parameters(problem, work):
    twice = work_of(problem.fast_model(), 2 * SETTINGS.batch_size, problem.features.shape[1])
    for stage in ("load", "project", "CTF + loss"):
        assert twice[stage].bytes == 2 * work[stage].bytes
        assert twice[stage].operations == 2 * work[stage].operations
    assert twice["optimiser"] == work["optimiser"]


def test_the_machine_moves_and_computes(monkeypatch):
    monkeypatch.setattr("cryosphere.benchmarking.floor._SECONDS", 0.0)
    machine = measure_machine(CPU)
    assert 1e8 < machine.bytes_per_second < 1e13
    assert 1e8 < machine.operations_per_second < 1e15


def test_the_literal_sum_gets_as_many_images_as_its_memory_is_meant_to_hold():
    assert literal_images(64, 1006, 190) == 64
    assert literal_images(64, 13_941, 256) == 18  # 2^26 // (13,941 · 256)
    assert literal_images(64, 10**6, 1000) == 1


def test_peak_memory_grows_with_what_is_allocated():
    before = peak_memory(CPU)
    held = torch.ones(before // 4 + 2**24)
    assert peak_memory(CPU) - before >= 2**24
    del held
