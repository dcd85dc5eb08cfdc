"""The scripts that fill docs/performance.md: their tables, their pictures, and the page's places for them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryosphere.benchmarking.bench import Bench, Speed
from cryosphere.benchmarking.floor import Machine, Work, floor_of
from cryosphere.benchmarking.problem import BenchSettings
from cryosphere.benchmarking.stages import STAGES

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = ("prediction", "steps", "growth", "gpu", "gpu-prediction", "kernels", "pieces")


@pytest.fixture
def script(monkeypatch):
    """Import one of benchmarks/, which is not part of the package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def load(name):
        for other in ("page", "pictures", name):
            monkeypatch.delitem(sys.modules, other, raising=False)
        return importlib.import_module(name)

    return load


def result(step_ms=10.0, **sizes):
    settings = BenchSettings(**sizes)
    speed = Speed(64, 64, 5, 64e3 / step_ms, step_ms, dict.fromkeys(STAGES, step_ms / 7), 6 / 7, 10**9)
    floor = floor_of(dict.fromkeys(STAGES, Work(1e6, 1e8)), Machine(1e10, 1e11), step_ms)
    reference = replace(speed, step_ms=20 * step_ms, images_per_second=speed.images_per_second / 20)
    return Bench(settings, 120, "cpu", "x86_64", 2, "0", "2", speed, reference, 20.0, floor, ())


def test_time_in_proportion_to_residues_has_the_exponent_1_and_constant_time_0(script):
    performance = script("performance")
    found = [result(10.0, residues=100), result(20.0, residues=200), result(20.0, residues=400)]
    rows = performance.growth_table("residues", found).splitlines()
    assert [row.split("|")[-2].strip() for row in rows[2:]] == ["-", "1.00", "0.00"]


def test_floors_of_several_runs_rest_on_the_fastest_that_any_saw_of_the_machine(script):
    fast = result()
    slow = replace(fast, floor=floor_of(fast.floor.work, Machine(1e9, 2e11), 10.0))
    found = script("performance").on_one_machine([fast, slow])
    assert {(each.floor.machine.bytes_per_second, each.floor.machine.operations_per_second) for each in found} == {
        (1e10, 2e11)
    }
    assert found[0].floor.floor_ms == pytest.approx(3.5)  # half of the 7 ms: twice the operations per second


def test_growth_with_the_box_is_told_in_pixels(script):
    performance = script("performance")
    rows = performance.growth_table("box", [result(10.0, box=100), result(40.0, box=200)]).splitlines()
    assert rows[-1].split("|")[-2].strip() == "1.00"


def test_what_is_held_fixed_stands_under_a_table_of_growth(script):
    found = [result(box=64, residues=214, segments=10), result(box=128, residues=214, segments=10)]
    fixed = "Fixed: 214 residues, 10 segments, 64 images per step, pixels of 1 Å."
    assert script("performance").growth_remarks("box", found) == fixed


def test_an_exponent_above_1_1_is_named_and_one_below_is_not(script):
    performance = script("performance")
    found = [result(10.0, residues=1000), result(21.0, residues=2000), result(45.5, residues=4000)]  # 1.07, then 1.12
    remarks = performance.growth_remarks("residues", found).splitlines()[1:]
    assert remarks == ["Faster than in proportion: from residues 2,000 to 4,000, with the exponent 1.12."]


def test_a_size_whose_stages_do_not_add_up_is_named_under_the_table_of_growth(script):
    doubtful = replace(result(residues=2000), doubts=("The stages do not add up.",))
    remarks = script("performance").growth_remarks("residues", [result(residues=1000), doubtful]).splitlines()[1:]
    assert remarks == ["In doubt, residues 2,000: The stages do not add up."]


def test_the_prediction_names_the_floor_what_came_and_what_was_wanted(script):
    performance = script("performance")
    text = performance.prediction([result(), result(), result()])
    first = [cell.strip() for cell in text.splitlines()[2].split("|")]
    assert first[5] == "9,143"  # 64 images in 7 ms: seven stages of 10⁸ operations, 10¹¹ of them per second
    assert first[6] == "6,400"
    assert first[9:11] == ["20.0", "≥ 10"]


def test_pictures_are_drawn(script):
    pictures = script("pictures")
    found = {name: [result(residues=500), result(20.0, residues=1000)] for name in ("residues", "segments", "box")}
    for content in (pictures.growth_picture(found), pictures.roofline_picture([result(), result()])):
        assert content.startswith(b"\x89PNG")


@pytest.mark.parametrize("block", BLOCKS)
def test_the_page_has_a_place_for_every_block(block):
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page.count(f"<!-- {block} begins -->") == page.count(f"<!-- {block} ends -->") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_gpu_benchmark_says_so_and_succeeds():
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "gpu.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "no GPU was found" in done.stdout


def test_the_gpu_benchmark_keeps_its_time_and_names_what_it_left_out(script):
    clock = script("gpu").Clock(0.0)
    assert not clock.allows("an epoch")
    assert clock.left_out == ["an epoch"]
