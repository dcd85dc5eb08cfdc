"""What a fit is asked for and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Hand = Literal["as-given", "both"]

Frame = Literal["map", "box"]
"""Where the origin of a written model is: where the map's header has it, or at the centre of the map's box."""

CLEARLY_BETTER = 0.03  # by how much the mirrored map must fit better before its hand is doubted


@dataclass(frozen=True)
class FitSettings:
    """How a model is placed in a map."""

    start: Literal["anywhere", "where it stands"] = "anywhere"
    resolution: float | None = None  # Å; None: as the map shows
    hand: Hand | None = None  # None: both, but as given where the model starts from where it stands
    segments: int = 0  # rigid parts for the flexible step; 0: none
    frame: Frame = "map"  # of the file that is written

    @property
    def looks_at_both_hands(self) -> bool:
        """Whether the mirrored map is searched too."""
        return (self.hand or ("both" if self.start == "anywhere" else "as-given")) == "both"


@dataclass(frozen=True)
class Solution:
    """One rigid placement of the model: each atom goes from r to `rotation` r + `translation`, in the map's frame."""

    rotation: NDArray[np.float64]  # (3, 3)
    translation: NDArray[np.float64]  # (3,) Å
    correlation: float  # of the model's density and the map's, within the model's mask, about their means
    turned_degrees: float  # of the model, from where it was (the best) or from the best (a runner-up)
    moved: float  # Å, of the model's centre, likewise


@dataclass(frozen=True)
class FlexibleStep:
    """What moving the segments added."""

    segments: int
    correlation: float
    rmsd: float  # Å, of the atoms from the rigid placement
    bonds_before: tuple[float, float]  # Å: shortest and longest distance of beads that are bonded
    bonds_after: tuple[float, float]


@dataclass(frozen=True)
class Fit:
    """A model placed in a map."""

    positions: NDArray[np.float64]  # (n_atoms, 3) Å, in the map's frame
    map_centre: NDArray[np.float64]  # (3,) Å: voxel D // 2 of the map in its frame
    resolution: float  # Å
    resolution_reason: str
    before: float | None  # correlation of the model where it was; None where it lay outside the map
    best: Solution
    runners_up: tuple[Solution, ...]
    mirrored: float | None  # correlation of the best placement in the mirrored map; None where that was not searched
    flexible: FlexibleStep | None
    seconds: float
    mirrored_best: Solution | None = None  # that placement, in the mirrored map's frame

    @property
    def correlation(self) -> float:
        """Of the placement that was chosen, after the flexible step where there was one."""
        return self.best.correlation if self.flexible is None else self.flexible.correlation

    @property
    def hand_is_doubtful(self) -> bool:
        """Whether the mirrored map fits clearly better."""
        return self.mirrored is not None and self.mirrored > self.best.correlation + CLEARLY_BETTER

    @property
    def in_box_frame(self) -> NDArray[np.float64]:
        """The positions with the origin at the centre of the map's box, as training wants them."""
        return self.positions - self.map_centre

    def as_dict(self) -> dict[str, Any]:
        """What is written as JSON; no coordinates."""
        flexible = None if self.flexible is None else vars(self.flexible)
        return {
            "resolution": self.resolution,
            "resolution_reason": self.resolution_reason,
            "correlation_before": self.before,
            "correlation": self.correlation,
            "best": _solution(self.best),
            "runners_up": [_solution(one) for one in self.runners_up],
            "hands": {"as_given": self.best.correlation, "mirrored": self.mirrored},
            "hand_is_doubtful": self.hand_is_doubtful,
            "flexible": flexible,
            "map_centre": self.map_centre.tolist(),
            "seconds": self.seconds,
        }


def _solution(solution: Solution) -> dict[str, Any]:
    return {
        "correlation": solution.correlation,
        "rotation": solution.rotation.tolist(),
        "translation": solution.translation.tolist(),
        "turned_degrees": solution.turned_degrees,
        "moved": solution.moved,
    }
