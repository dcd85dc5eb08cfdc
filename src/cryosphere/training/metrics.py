"""Averages over an epoch, kept on the device, and the table they end up in."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cryosphere.distribution import ALONE, World
from cryosphere.files import write_text
from cryosphere.model.batch import Share
from cryosphere.model.losses import Losses


@dataclass(frozen=True)
class Failure:
    """The first step at which something was not finite."""

    step: int
    terms: tuple[str, ...]
    images: tuple[int, ...]  # positions in the step of images whose correlation is not finite; empty if none is


class EpochAverages:
    """Sums of the loss terms over the images of an epoch, and the first step at which one was not finite.

    The norm of the gradient counts as a term. Nothing here waits for the device, or for other processes, until
    `averages`, `first_failure` or `state` is asked for, which all processes do together.
    """

    TERMS = (
        "correlation",
        "kl_latent",
        "kl_segments",
        "continuity",
        "clash",
        "elastic",
        "total",
        "gradient_norm",
        "occupancy",
    )
    _OF_IMAGES = (
        "correlation",
        "kl_latent",
        "continuity",
        "clash",
        "elastic",
        "occupancy",
    )  # means over a process's own images

    def __init__(self, batch_size: int, device: torch.device, world: World = ALONE) -> None:
        self.world = world
        self.sums = torch.zeros(len(self.TERMS), dtype=torch.float64, device=device)  # of this process
        self.images = 0  # of all processes
        self._of_images = torch.tensor([name in self._OF_IMAGES for name in self.TERMS], device=device)
        self._failed_step = torch.full((), -1, dtype=torch.int64, device=device)
        self._failed_terms = torch.zeros(len(self.TERMS), dtype=torch.bool, device=device)
        self._failed_images = torch.zeros(batch_size, dtype=torch.bool, device=device)

    def add(self, losses: Losses, gradient_norm: Tensor, step: int, share: Share) -> None:
        """Count the terms of this process's share of a step."""
        terms = {**losses.terms(), "gradient_norm": gradient_norm}
        values = torch.stack([terms[name].detach() for name in self.TERMS])
        # what is the same for all images is summed on every process, and then over the processes
        self.sums += torch.where(self._of_images, share.count * values, share.total / share.processes * values)
        self.images += share.total
        bad = ~torch.isfinite(values)
        bad_images = torch.zeros_like(self._failed_images)
        bad_images[share.first : share.first + share.count] = ~torch.isfinite(losses.correlations.detach())
        first = bad.any() & (self._failed_step < 0)
        self._failed_terms = torch.where(first, bad, self._failed_terms)
        self._failed_images = torch.where(first, bad_images, self._failed_images)
        self._failed_step = torch.where(first, step, self._failed_step)

    def averages(self) -> dict[str, float]:
        """Mean of every term over the images counted."""
        means = (self.world.sum(self.sums) / max(self.images, 1)).tolist()
        return dict(zip(self.TERMS, means, strict=True))

    def first_failure(self) -> Failure | None:
        """Where something was first not finite, on any process; None where all was."""
        own = int(self._failed_step)
        if not self.world.agree(on=own >= 0):
            return None
        steps = self.world.gather(np.array([own]))
        step = int(steps[steps >= 0].min())
        terms, images = (
            np.flatnonzero(self.world.gather((failed & (own == step))[None].cpu().numpy()).any(axis=0)).tolist()
            for failed in (self._failed_terms, self._failed_images)
        )
        return Failure(step, tuple(self.TERMS[k] for k in terms), tuple(images))

    def state(self) -> dict[str, Any]:
        """Plain numbers to store in a checkpoint, of all processes together."""
        return {"sums": self.world.sum(self.sums).tolist(), "images": self.images}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put stored numbers back, on whatever number of processes: the first one holds what was summed before."""
        if self.world.is_first:
            before = torch.tensor(state["sums"], dtype=torch.float64)
            self.sums[: len(before)] = before  # a run begun when fewer terms were known has fewer
        self.images = int(state["images"])


class MetricsTable:
    """metrics.csv: one row per epoch, rewritten whole and atomically."""

    def __init__(self, path: Path, rows: list[dict[str, Any]] | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = list(rows or [])

    def append(self, row: Mapping[str, Any]) -> None:
        """Add an epoch and write the table."""
        self.rows.append(dict(row))
        names = list(dict.fromkeys(name for each in self.rows for name in each))
        stream = io.StringIO()
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in each.items()} for each in self.rows)
        write_text(self.path, stream.getvalue())
