"""How many images make a step, where the user leaves it open.

Small batches learn more from the same number of images (docs/learning.md: 64, 128 and 256 differ by a few thousandths
at 250,000 images), large ones are taken faster, most of all by a GPU. So the batch grows while a step of twice the size
takes well under twice the time, and while enough steps remain.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from cryosphere.clock import now
from cryosphere.model.vae import HeterogeneityModel, Weights
from cryosphere.training.accumulation import is_out_of_memory
from cryosphere.training.data import ParticleLoader, Rows

SMALLEST = 128
LARGEST = 4096
STEPS = 2000  # that must remain; the learning table was measured with as many
WORTH_IT = 0.9  # of the time per image: doubling must save a tenth


def choose_batch_size(views: int, seconds: Callable[[int], float | None]) -> tuple[int, str]:
    """The size of a step and why, for a training that sees `views` images in all.

    seconds: measures a step of so many images; None where they do not fit in memory.
    """
    size, most = SMALLEST, min(LARGEST, views // STEPS)
    if 2 * size > most:
        return size, f"batch size: {size}, the smallest, so that many steps are made with {views:,} images"
    taken = seconds(size)
    while taken is not None and 2 * size <= most:
        twice = seconds(2 * size)
        if twice is None or twice > 2 * WORTH_IT * taken:
            break
        size, taken = 2 * size, twice
    speed = "" if taken is None else f", measured at {size / taken:,.0f} images/s"
    return size, f"batch size: {size}{speed} (another with --batch-size)"


def measuring(model: HeterogeneityModel, loader: ParticleLoader, rows: Rows) -> Callable[[int], float | None]:
    """Seconds that the gradient of a step of so many of these images takes, on each of the loader's processes.

    Nothing is learned from them.
    """

    def attempt(size: int) -> float | None:
        taken = []
        try:
            batch = loader.batch(rows[: -(-size // loader.world.size)])
            for _ in range(3):  # the first one also finds plans and memory
                began = now(loader.device)
                model(batch, Weights()).total.backward()
                taken.append(now(loader.device) - began)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return min(taken)

    def seconds(size: int) -> float | None:
        found = attempt(size)
        model.zero_grad(set_to_none=True)
        if found is None and loader.device.type == "cuda":
            torch.cuda.empty_cache()
        return found

    return seconds
