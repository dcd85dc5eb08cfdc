"""From a latent variable to one rigid motion per segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from cryosphere.geometry.motions import RigidMotions, rotation_vector_of_halfway
from cryosphere.model.networks import perceptron
from cryosphere.model.occupancy import Occupancy


class Decoder(nn.Module):
    """A small network z → (x, y, z of the quaternion (1, x, y, z); translation) for each segment.

    Its last layer starts small, so that training begins at the base structure. Translations are in units of
    `translation_scale` Å and turns in units of `rotation_scale` (half an angle in radians), which sets how far one
    step of the optimiser moves a segment. Segments turn about their own centres, or about the box's (`pivot`): both can
    express the same motions. `occupancy`, where one is put there to be learned, says how much of each
    residue there is.
    """

    def __init__(
        self,
        latent_dim: int,
        segments: int,
        hidden: Sequence[int],
        *,
        translation_scale: float = 5.0,
        rotation_scale: float = 0.25,
        pivot: Literal["segment", "box"] = "segment",
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.segments = segments
        self.pivot = pivot
        self.translation_scale = translation_scale
        self.rotation_scale = rotation_scale
        self.network = perceptron(latent_dim, hidden, 6 * segments, final_gain=0.1)
        self.occupancy: Occupancy | None = None

    def forward(self, z: Float[Tensor, "n latent"]) -> RigidMotions:
        """Motions of all segments for each latent."""
        output = self.network(z).unflatten(-1, (self.segments, 6))
        rotations = rotation_vector_of_halfway(self.rotation_scale * output[..., :3])
        return RigidMotions(rotations, self.translation_scale * output[..., 3:])
