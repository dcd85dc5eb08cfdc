"""What the user sees on standard error: log lines, error messages and, where asked for, tracebacks."""

from __future__ import annotations

import functools
import logging
import os
import traceback
from typing import TYPE_CHECKING

from cryosphere.launch import is_first_of_job

if TYPE_CHECKING:
    from rich.console import Console


@functools.cache
def error_console() -> Console:
    """The one console on standard error, shared by log lines and progress bars so that neither overwrites the other."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True)


class ConsoleHandler(logging.Handler):
    """Log lines as plain sentences; only what is more than information says so."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        try:
            level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
            style = "yellow" if record.levelno >= logging.WARNING else None
            error_console().print(level + self.format(record), markup=False, highlight=False, style=style)
        except OSError:
            self.handleError(record)


def set_up_logging(level: str) -> None:
    """Send log lines of this software at `level` and above, and every library's warnings, to standard error.

    Of the processes of a job only the first one does; the others tell nothing but errors.
    """
    root = logging.getLogger()
    if not any(isinstance(handler, ConsoleHandler) for handler in root.handlers):
        root.addHandler(ConsoleHandler())
    root.setLevel("WARNING" if is_first_of_job() else "ERROR")
    logging.getLogger("cryosphere").setLevel(level if is_first_of_job() else "ERROR")
    logging.captureWarnings(capture=True)


def report_error(message: str) -> None:
    """Print an error message as it is, without styling what looks like markup in file names."""
    error_console().print(f"cryosphere: {message}", markup=False, highlight=False, style="bold red")


def show_traceback(error: Exception) -> bool:
    """Print where `error` arose if the user asked for it; says whether it was printed."""
    if os.environ.get("CRYOSPHERE_TRACEBACK", "") in ("", "0"):
        return False
    text = "".join(traceback.format_exception(error))
    error_console().print(text, markup=False, highlight=False)
    return True
