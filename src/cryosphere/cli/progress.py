"""Progress on a terminal: a bar with rate and time left; in a log file, a plain line now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cryosphere.cli.terminal import error_console
from cryosphere.progress import SILENT, Progress

if TYPE_CHECKING:
    from rich.console import Console

_SECONDS_BETWEEN_LINES = 15.0


def terminal_progress() -> Progress:
    """A progress bar where standard error is a terminal, sparse plain lines where it is a file or a pipe.

    Nothing at all where only problems are to be told (--quiet).
    """
    if not logging.getLogger("cryosphere").isEnabledFor(logging.INFO):
        return SILENT
    console = error_console()
    return BarProgress(console) if console.is_terminal else LineProgress(console)


class BarProgress:
    """A bar per task: share done, steps per second, time left; it vanishes into one line when the task ends."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def track(self, total: int, description: str) -> Iterator[Callable[[int], None]]:
        """Show one task of `total` steps; the function yielded is called with the number of steps just done."""
        from rich import progress as bars

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[rate]}"),
            bars.TimeRemainingColumn(),
        )
        with bars.Progress(*columns, console=self._console) as display:
            task = display.add_task(description, total=total, rate="")

            def advance(steps: int) -> None:
                display.advance(task, steps)
                speed = display.tasks[0].speed
                display.update(task, rate="" if speed is None else f"{_rounded(speed)}/s")

            yield advance


class LineProgress:
    """A line when a task starts to take long, then every quarter of a minute, and one at its end."""

    def __init__(self, console: Console, seconds_between_lines: float = _SECONDS_BETWEEN_LINES) -> None:
        self._console = console
        self._interval = seconds_between_lines

    @contextmanager
    def track(self, total: int, description: str) -> Iterator[Callable[[int], None]]:
        """Report one task of `total` steps; the function yielded is called with the number of steps just done."""
        start = last_line = time.monotonic()
        done = 0

        def advance(steps: int) -> None:
            nonlocal done, last_line
            done += steps
            now = time.monotonic()
            if now - last_line >= self._interval and done < total:
                last_line = now
                self._say(f"{description}: {done}/{total} {_pace(done, total, now - start)}")

        yield advance
        seconds = time.monotonic() - start
        self._say(f"{description}: {done}/{total} in {_clock(seconds)} ({_rounded(done / max(seconds, 1e-9))}/s)")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)


def _pace(done: int, total: int, seconds: float) -> str:
    rate = done / max(seconds, 1e-9)
    left = _clock((total - done) / rate) if rate > 0 else "unknown"
    return f"({_rounded(rate)}/s, {left} left)"


def _rounded(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
