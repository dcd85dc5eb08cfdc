"""Who may write in a run directory: one training, and one analysis or evaluation, at a time. Reading is always free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from cryosphere.errors import OccupiedError, RunError
from cryosphere.launch import is_first_of_job
from cryosphere.locking import held
from cryosphere.training.run_directory import RunDirectory

TRAINING, RESULTS = ".lock", ".lock-results"


@contextmanager
def training_alone(run: RunDirectory) -> Iterator[None]:
    """Train in a run directory, whose folder is made for it, while nobody else does.

    Of a job of several processes the first one holds the lock for all.

    Raises:
        RunError: if another process trains there.
    """
    if not is_first_of_job():
        yield
        return
    way_out = "wait until it ends, end it, or choose another --outdir"
    with _alone(run, TRAINING, "training", way_out):
        run.tidy()
        yield


@contextmanager
def results_alone(run: RunDirectory, doing: str) -> Iterator[None]:
    """Write or remove analysis and evaluation of a run, while nobody else does.

    Raises:
        RunError: if another process does.
    """
    if not is_first_of_job():
        yield
        return
    with _alone(run, RESULTS, doing, "wait until it ends, or end it"):
        run.tidy_results()
        yield


@contextmanager
def _alone(run: RunDirectory, name: str, doing: str, way_out: str) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(held(run.root / name, doing))
        except OccupiedError as error:
            raise RunError(f"{run.root} is in use: {error}. Nothing was written; {way_out}") from None
        except PermissionError as error:
            raise RunError(f"no permission to write to {run.root} ({error.strerror})") from None
        yield
