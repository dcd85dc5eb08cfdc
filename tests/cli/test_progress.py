"""Progress: a bar on a terminal, a few plain lines in a log file."""

from __future__ import annotations

import io

from rich.console import Console

from cryosphere.cli.progress import BarProgress, LineProgress


def test_a_log_file_gets_plain_lines_with_count_and_rate():
    text = io.StringIO()
    progress = LineProgress(Console(file=text), seconds_between_lines=0.0)
    with progress.track(4, "images") as advance:
        advance(2)
        advance(2)
    first, last = text.getvalue().splitlines()
    assert first.startswith("images: 2/4 (") and "left" in first
    assert last.startswith("images: 4/4 in 0:00 (")
    assert "\x1b" not in text.getvalue()


def test_a_short_task_is_one_line_in_a_log_file():
    text = io.StringIO()
    with LineProgress(Console(file=text)).track(1000, "images") as advance:
        for _ in range(1000):
            advance(1)
    assert len(text.getvalue().splitlines()) == 1


def test_a_failing_task_leaves_no_line_that_says_it_ended():
    text = io.StringIO()
    try:
        with LineProgress(Console(file=text)).track(2, "images"):
            raise RuntimeError
    except RuntimeError:
        pass
    assert text.getvalue() == ""


def test_a_terminal_gets_a_bar_that_reaches_its_total():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    with BarProgress(console).track(3, "images") as advance:
        advance(3)
    assert "3/3" in text.getvalue()
