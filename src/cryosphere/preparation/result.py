"""What a preparation found."""

from __future__ import annotations

from dataclasses import dataclass

from cryosphere.maps.model_fsc import ModelMapFsc
from cryosphere.preparation.choices import Choices
from cryosphere.preparation.consensus import Consensus
from cryosphere.preparation.placement import Placement


@dataclass(frozen=True)
class Preparation:
    """Map, placement, agreement and settings; nothing of it written yet."""

    consensus: Consensus
    placement: Placement
    curve: ModelMapFsc  # of the placed model and the map
    curve_before: ModelMapFsc | None  # of the model as it stood; None where it lay outside the map
    choices: Choices
    pixel_size: float  # Å, of the chosen box
    images: int  # in the particle file
    warnings: tuple[str, ...]
