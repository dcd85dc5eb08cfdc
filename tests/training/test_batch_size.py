"""The batch grows while that pays and enough steps remain."""

from __future__ import annotations

import pytest

from cryosphere.training.batch_size import LARGEST, SMALLEST, STEPS, choose_batch_size


def test_a_small_training_keeps_the_smallest_batch_without_measuring() -> None:
    def seconds(size: int) -> float:
        raise AssertionError("nothing is to be measured")

    assert choose_batch_size(2 * SMALLEST * STEPS - 1, seconds)[0] == SMALLEST


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (lambda size: 0.003, LARGEST),  # the device waits for its host whatever the size
        (lambda size: 1e-5 * size, SMALLEST),  # busy already
        (lambda size: 0.004 + 1e-5 * size, 2048),  # 1,024 to 2,048 saves a seventh of the time, 4,096 only a twelfth
        (lambda size: 0.003 if size <= 512 else None, 512),  # no memory for more
        (lambda size: None, SMALLEST),  # not even for the smallest: it will be taken in pieces
    ],
)
def test_the_batch_grows_while_doubling_saves_a_tenth(seconds, expected) -> None:
    size, why = choose_batch_size(10**9, seconds)
    assert size == expected
    assert str(size) in why


def test_enough_steps_remain() -> None:
    views = 600 * STEPS
    assert choose_batch_size(views, lambda size: 0.001)[0] == 512
