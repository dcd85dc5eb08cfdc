"""How long work tells the outside how far it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Somebody who shows how far a task is: a progress bar, a notebook widget, nobody."""

    def track(self, total: int, description: str) -> AbstractContextManager[Callable[[int], None]]:
        """Open a task of `total` steps; the function it yields is called with the number of steps just done."""
        ...


class _Silent:
    @contextmanager
    def track(self, total: int, description: str) -> Iterator[Callable[[int], None]]:
        yield lambda steps: None


SILENT: Progress = _Silent()
