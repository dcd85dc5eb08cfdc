"""One step of training: losses of its images, their gradient, and the optimiser's move."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW

from cryosphere.distribution import World
from cryosphere.model.batch import Batch
from cryosphere.model.losses import Losses
from cryosphere.model.vae import HeterogeneityModel, Weights
from cryosphere.training.accumulation import is_out_of_memory, joined, pieces
from cryosphere.training.config import Config
from cryosphere.training.schedules import warm_then_cosine

log = logging.getLogger(__name__)


class Stepper:
    """Takes steps: the same ones for any number of processes, and however many images fit in memory at once."""

    def __init__(self, model: HeterogeneityModel, config: Config, fabric: Fabric, world: World) -> None:
        self.settings = config.training
        self.raw_model = model
        self.fabric = fabric
        self.world = world
        self.model: Any
        self.optimizer: Any
        with world.talking():
            self.model, self.optimizer = fabric.setup(model, _optimizer(model, config))
        self.images_at_once = self.settings.images_at_once or 2**31
        self._generator = torch.Generator(fabric.device)

    def set_learning_rates(self, done: float) -> None:
        """As they are after a fraction of the training."""
        factor = warm_then_cosine(done) if self.settings.learning_rate_schedule == "cosine" else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group["peak"]

    def take(self, batch: Batch, weights: Weights, number: int) -> tuple[Losses, Tensor]:
        """Take a step with the images of a batch: its losses, and the norm of its gradient before clipping."""
        losses = self.find_gradient(batch, weights, number)
        largest = math.inf if self.settings.gradient_clip is None else self.settings.gradient_clip
        norm = self.fabric.clip_gradients(self.model, self.optimizer, max_norm=largest, error_if_nonfinite=False)
        assert norm is not None
        self.optimizer.step()
        share = batch.share
        self.raw_model.observe(self.world.sum(share.count * losses.correlation.detach()) / share.total)
        return losses, norm

    def find_gradient(self, batch: Batch, weights: Weights, number: int) -> Losses:
        """Losses of a batch and, on the parameters, their gradient; in smaller pieces if memory runs out."""
        while True:
            try:
                return self._in_pieces(batch, weights, number)
            except (RuntimeError, MemoryError) as error:
                if not self._can_take_less(error, batch):
                    raise
            # outside the handler, which keeps what the failed attempt had in memory
            self.images_at_once = -(-min(self.images_at_once, len(batch)) // 2)
            self.optimizer.zero_grad(set_to_none=True)
            if self.fabric.device.type == "cuda":
                torch.cuda.empty_cache()
            log.warning(
                "not enough memory for the images of a step: from now on %d at a time, with the same result",
                self.images_at_once,
            )

    def _can_take_less(self, error: BaseException, batch: Batch) -> bool:
        """Whether to try again with fewer images; several processes cannot, as the others wait for this one's part."""
        if not is_out_of_memory(error):
            return False
        if self.world.size > 1:
            log.error(
                "not enough memory for %d images at once: --set training.images_at_once=%d takes fewer, with the same "
                "result",
                *(len(batch), max(1, min(self.images_at_once, len(batch)) // 2)),
            )
            return False
        return min(self.images_at_once, len(batch)) > 1

    def _in_pieces(self, batch: Batch, weights: Weights, number: int) -> Losses:
        self.optimizer.zero_grad(set_to_none=True)
        parts = pieces(batch, self.images_at_once)
        found = []
        for part in parts:
            self._generator.manual_seed(step_seed(self.settings.seed, number))  # the same draws for every piece
            unsynchronised = self.fabric.no_backward_sync(self.model, enabled=part is not parts[-1])
            with unsynchronised, self.world.talking():
                losses = self.model(part, weights, self._generator)
                self.fabric.backward(losses.total / len(parts))
            found.append(losses)
        return joined(found)


def step_seed(seed: int, step: int) -> int:
    """A seed for one step's draws that depends on nothing but the run's seed and the step."""
    return int(np.random.SeedSequence([seed, 2, step]).generate_state(1, np.uint64)[0] >> 1)


def _optimizer(model: HeterogeneityModel, config: Config) -> AdamW:
    settings = config.training
    # the free encoder's parameters are latents, which their prior holds together already
    encoder_decay = 0.0 if config.encoder.kind == "free" else settings.weight_decay
    rates = settings.learning_rate, settings.segmentation_learning_rate
    groups = [
        _group(model.encoder.parameters(), rates[0], encoder_decay),
        _group(model.decoder.network.parameters(), rates[0], settings.weight_decay),
        _group(model.segmentation.parameters(), rates[1], 0.0),
    ]
    learned = model.decoder.occupancy
    if learned is not None:
        groups.append(_group([learned.logits], config.occupancy.learning_rate, 0.0))
        if learned.network is not None:
            groups.append(_group(learned.network.parameters(), rates[0], settings.weight_decay))
    return AdamW(groups, fused=True)


def _group(parameters: Iterable[nn.Parameter], rate: float, decay: float) -> dict[str, Any]:
    """Parameters that share a learning rate, whose peak the schedule multiplies."""
    return {"params": list(parameters), "lr": rate, "peak": rate, "weight_decay": decay}
