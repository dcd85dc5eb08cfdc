"""How a weight or a learning rate changes in the course of training."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from cryosphere.settings import Section


class Constant(Section):
    """The same value throughout."""

    kind: Literal["constant"] = "constant"
    value: float = Field(ge=0)

    def at(self, progress: float) -> float:
        """Value when the fraction `progress` of training is done."""
        return self.value


class Linear(Section):
    """From `start` to `end` over the fraction `until` of training, then `end`."""

    kind: Literal["linear"] = "linear"
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    until: float = Field(default=1.0, gt=0, le=1)

    def at(self, progress: float) -> float:
        """Value when the fraction `progress` of training is done."""
        return self.start + (self.end - self.start) * min(progress / self.until, 1.0)


class Cyclical(Section):
    """`cycles` times: from `low` to `high` over the first part `rise` of a cycle, then `high` to its end."""

    kind: Literal["cyclical"] = "cyclical"
    low: float = Field(default=0.0, ge=0)
    high: float = Field(ge=0)
    cycles: int = Field(default=4, ge=1)
    rise: float = Field(default=0.5, gt=0, le=1)

    def at(self, progress: float) -> float:
        """Value when the fraction `progress` of training is done."""
        if progress >= 1:
            return self.high
        within = (progress * self.cycles) % 1.0
        return self.low + (self.high - self.low) * min(within / self.rise, 1.0)


Schedule = Annotated[Constant | Linear | Cyclical, Field(discriminator="kind")]


def coarse_to_fine(progress: float, *, until: float, start: float, end: float) -> float | None:
    """Resolution in Å when the fraction `progress` is done: from `start` to `end` in equal ratios, then None."""
    if progress >= until or start <= end:
        return None
    return float(start * (end / start) ** (progress / until))


def warm_then_cosine(progress: float, *, warm: float = 0.02, floor: float = 0.05) -> float:
    """Factor of the learning rate: a short linear rise, then half a cosine down to `floor`."""
    if progress < warm:
        return max(progress / warm, 0.05)
    done = min((progress - warm) / (1 - warm), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
