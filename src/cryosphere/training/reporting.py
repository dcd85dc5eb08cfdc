"""What training tells after every epoch: a row of metrics.csv, TensorBoard's curves, and a sentence."""

from __future__ import annotations

import logging
from typing import Any

from cryosphere.distribution import World
from cryosphere.training.metrics import MetricsTable
from cryosphere.training.run_directory import RunDirectory

log = logging.getLogger(__name__)


class Reports:
    """The reports of a run, written by the first process only; a context that closes its files.

    `rows` are those of the epochs done before.
    """

    def __init__(self, run: RunDirectory, rows: list[dict[str, Any]], world: World) -> None:
        self.rows = list(rows)
        self._table = MetricsTable(run.metrics_path, rows) if world.is_first else None
        self._curves: Any = None
        if world.is_first:
            from torch.utils.tensorboard import SummaryWriter

            self._curves = SummaryWriter(str(run.tensorboard))

    def add(self, row: dict[str, Any], step: int) -> None:
        """Report an epoch."""
        self.rows.append(row)
        if self._table is None:
            return
        self._table.append(row)
        for name, value in row.items():
            if isinstance(value, float):
                self._curves.add_scalar(name, value, step)
        self._curves.flush()

    def __enter__(self) -> Reports:
        return self

    def __exit__(self, *_: object) -> None:
        if self._curves is not None:
            self._curves.close()


def tell_epoch(row: dict[str, Any], epochs: int) -> None:
    """An epoch in a sentence; after the last one, whether images that training did not see bear the motion out."""
    validation = row["validation_correlation"]
    held_out = f"{validation:.4f} held-out" if isinstance(validation, float) else "none held out"
    log.info(
        "epoch %d/%d: correlation with images %.4f training, %s; %.0f images/s",
        row["epoch"],
        epochs,
        row["train_mean_correlation"],
        held_out,
        row["images_per_second"],
    )
    if row["epoch"] == epochs:
        _tell_gain(row)


def _tell_gain(row: dict[str, Any]) -> None:
    held_out, trained = row["validation_gain"], row["train_gain"]
    if not isinstance(held_out, float):
        return
    if held_out > 0:
        log.info("the motion explains held-out images better than one structure does, by %.3g nats each", held_out)
    else:
        log.warning(
            "held-out images are explained no better by the motion than by one structure for all (%.3g nats per image; "
            "%.3g on images trained on): there is no motion in these images, it is drowned in their noise, or the "
            "model learned the noise",
            held_out,
            trained,
        )
