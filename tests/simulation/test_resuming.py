"""A simulation that was stopped goes on where it stood, and ends with the same bytes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from cryosphere.errors import RunError, StructureError
from cryosphere.settings import write_yaml
from cryosphere.simulation import rendering, stack_writer
from cryosphere.simulation.simulate import simulate
from cryosphere.simulation.workshop import FOLDER, fingerprint, workshop

from .conftest import hinge_config

FILES = {"particles.star", "particles.mrcs", "truth.npz", "model.cif", "simulation.yaml"}
THREE_IMAGES = 3 * ((2 * 32) ** 2 + 64 * 40)  # of 32² pixels and 40 beads


class Listener:
    """Somebody who presses Ctrl-C when `stop_at` images are done, and remembers what was said."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.steps = []

    @contextmanager
    def track(self, total, description):
        def advance(steps):
            self.steps.append(steps)
            if self.stop_at is not None and sum(self.steps) >= self.stop_at:
                raise KeyboardInterrupt

        yield advance


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(rendering, "_NUMBERS_AT_ONCE", THREE_IMAGES)


@pytest.fixture
def uninterrupted(protein, tmp_path):
    simulate(hinge_config(protein), tmp_path / "whole")
    return tmp_path / "whole"


def same_bytes(folder, other):
    for name in FILES:
        mine, others = ((f / name).read_bytes() for f in (folder, other))
        if name == "particles.star":  # its first line has the time of writing
            mine, others = (re.sub(rb"(?m)^# .*$", b"", text) for text in (mine, others))
        assert mine == others, name


def test_after_ctrl_c_the_same_command_goes_on_and_ends_with_the_same_bytes(protein, tmp_path, uninterrupted):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt, match="15 of 40 images are kept; the same command goes on"):
        simulate(hinge_config(protein), out, progress=Listener(stop_at=15))
    assert {path.name for path in out.iterdir()} == {FOLDER}
    second = Listener()
    simulate(hinge_config(protein), out, progress=second)
    assert second.steps[0] == 15 and sum(second.steps) == 40
    assert {path.name for path in out.iterdir()} == FILES
    same_bytes(out, uninterrupted)


def test_it_may_be_stopped_more_than_once(protein, tmp_path, uninterrupted):
    for stop in (3, 9, 30):
        with pytest.raises(KeyboardInterrupt):
            simulate(hinge_config(protein), tmp_path / "out", progress=Listener(stop_at=stop))
    simulate(hinge_config(protein), tmp_path / "out")
    same_bytes(tmp_path / "out", uninterrupted)


def test_another_configuration_starts_over(protein, tmp_path, uninterrupted):
    with pytest.raises(KeyboardInterrupt):
        simulate(hinge_config(protein, snr=7.0), tmp_path / "out", progress=Listener(stop_at=15))
    listener = Listener()
    simulate(hinge_config(protein), tmp_path / "out", progress=listener)
    assert listener.steps[0] == 3
    same_bytes(tmp_path / "out", uninterrupted)


def test_another_model_under_the_same_name_starts_over(protein):
    before = fingerprint(hinge_config(protein))
    assert fingerprint(hinge_config(protein)) == before
    protein.write_text(protein.read_text().replace("5.000", "5.100"))
    assert fingerprint(hinge_config(protein)) != before


def test_a_killed_simulation_never_looks_complete_and_the_next_one_goes_on(protein, tmp_path, uninterrupted):
    out, config = tmp_path / "out", tmp_path / "c.yaml"
    write_yaml(config, hinge_config(protein), heading="")
    code = (
        "import time; from pathlib import Path; from contextlib import contextmanager\n"
        "from cryosphere.simulation import rendering, stack_writer\n"
        "from cryosphere.simulation.config import load_simulation\n"
        "from cryosphere.simulation.simulate import simulate\n"
        f"rendering._NUMBERS_AT_ONCE, stack_writer._SECONDS_BETWEEN_NOTES = {THREE_IMAGES}, 0.0\n"
        "class Slow:\n"
        "    done = 0\n"
        "    @contextmanager\n"
        "    def track(self, total, description):\n"
        "        yield self.advance\n"
        "    def advance(self, steps):\n"
        "        self.done += steps\n"
        "        if self.done == 12: time.sleep(60)\n"
        f"simulate(load_simulation(Path({str(config)!r})), {str(out)!r}, progress=Slow())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    note = out / FOLDER / ".particles.mrcs.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (note.is_file() and '"written": 12' in note.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert {path.name for path in out.iterdir()} == {FOLDER}
    listener = Listener()
    simulate(hinge_config(protein), out, progress=listener)
    assert listener.steps[0] == 12
    same_bytes(out, uninterrupted)


def test_stopped_after_the_last_image_it_makes_none_again(protein, tmp_path, uninterrupted, monkeypatch):
    from cryosphere.simulation import simulate as module

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, "write_star", stop)
        simulate(hinge_config(protein), tmp_path / "out")
    listener = Listener()
    simulate(hinge_config(protein), tmp_path / "out", progress=listener)
    assert listener.steps == []
    same_bytes(tmp_path / "out", uninterrupted)


def test_stopped_before_the_first_image_it_leaves_nothing(protein, tmp_path, monkeypatch):
    from cryosphere.simulation import simulate as module

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "Camera", stop)
    with pytest.raises(KeyboardInterrupt):
        simulate(hinge_config(protein), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_input_found_late_leaves_nothing(tmp_path):
    with pytest.raises(StructureError), workshop(tmp_path / "out", "mark") as folder:
        (folder / "half").write_text("")
        raise StructureError
    assert not (tmp_path / "out").exists()


def test_two_simulations_into_one_folder_are_told_apart(tmp_path):
    with (
        workshop(tmp_path / "out", "a"),
        pytest.raises(RunError, match="another simulation"),
        workshop(tmp_path / "out", "a"),
    ):
        pass


def test_a_note_that_does_not_fit_the_stack_is_not_believed(tmp_path):
    path = tmp_path / "s.mrcs"
    (tmp_path / ".s.mrcs.json").write_text('{"written": 3, "sum": 0, "sum_of_squares": 0, "lowest": 0, "highest": 0}')
    (tmp_path / ".s.mrcs.part").write_bytes(b"short")
    with (
        pytest.raises(KeyboardInterrupt),
        stack_writer.StackWriter(path, count=5, box=8, pixel_size=1.0, keep_unfinished=True) as writer,
    ):
        assert writer.written == 0
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
