"""Where the images decided how many parts move, these parts are what motions are told of."""

from __future__ import annotations

import numpy as np
import pytest

from cryosphere.analysis.analyze import AnalysisSettings, analyze
from cryosphere.errors import RunError
from cryosphere.training.moving_parts import Merge, MovingParts

QUICK = AnalysisSettings(points=5, clusters=3)
Z = np.random.default_rng(3).normal(0.0, 0.35, (40, 1))


def found(*parts: tuple[int, ...], kept: float = 0.97) -> MovingParts:
    last = Merge((1,), (0,), 1, 4.0, 20.5, 0.31, 0.0)
    return MovingParts(parts, 2, 500, 20.5, 0.31, kept, (last,))


def test_the_report_says_how_many_parts_move_and_what_they_keep(make_run) -> None:
    run = make_run(Z)
    found((1,), (0,)).save(run.directory.moving_parts)
    page = (analyze(run, settings=QUICK) / "report.html").read_text(encoding="utf-8")
    assert "<b>2 moving parts</b> (of 2 segments): <b>S2</b> (A 65–104, A 900 (HEM); 41 residues); <b>S1</b>" in page
    assert (
        "explain each of 500 images by 20.5 ± 0.31 nats less; these parts keep 97 % of that, one part fewer 0 %" in page
    )
    assert run.bodies == ((1,), (0,))
    assert run.reference.segments == (1,)  # the first of them, not the body of most residues


def test_one_part_is_said_and_nothing_moves_against_it(make_run) -> None:
    run = make_run(Z)
    found((0, 1), kept=0.0).save(run.directory.moving_parts)
    page = (analyze(run, settings=QUICK) / "report.html").read_text(encoding="utf-8")
    assert "<b>1 moving part</b> (of 2 segments): 500 images do not tell the molecule from one rigid body." in page


def test_without_such_a_file_bodies_are_found_by_how_far_they_move(make_run) -> None:
    run = make_run(Z)
    assert run.moving_parts is None
    assert run.bodies == ((0,), (1,))


def test_a_damaged_file_is_an_input_error(make_run) -> None:
    run = make_run(Z)
    run.directory.moving_parts.write_text("{")
    with pytest.raises(RunError, match="damaged"):
        _ = run.bodies
