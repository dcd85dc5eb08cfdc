"""How many images make a step, where the user leaves it open.

Small batches learn more from the same number of images (docs/learning.md: 64, 128 and 256 differ by a few thousandths
at 250,000 images), large ones are taken faster by a GPU. So the batch grows while a step of twice the size takes well
under twice the time, and while enough steps remain.
"""

from __future__ import annotations

from collections.abc import Callable

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
