"""What a simulation is told: which protein moves how, and how its images are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from cryosphere.settings import Section, read_yaml, validate
from cryosphere.simulation.image_config import (
    DistributedCtf,
    FixedCtf,
    ImageSettings,
    OpticsSettings,
    PoseErrors,
    as_groups,
)
from cryosphere.simulation.motion_config import (
    AbsentResidues,
    HingeDomain,
    HingeMotion,
    JitterSettings,
    NormalMixture,
    ResidueRange,
    TrajectoryMotion,
    UniformAngles,
)

__all__ = [
    "AbsentResidues",
    "DistributedCtf",
    "FixedCtf",
    "HingeDomain",
    "HingeMotion",
    "ImageSettings",
    "JitterSettings",
    "NormalMixture",
    "OpticsSettings",
    "PoseErrors",
    "ResidueRange",
    "SimulationConfig",
    "TrajectoryMotion",
    "UniformAngles",
    "load_simulation",
]

Motion = Annotated[HingeMotion | TrajectoryMotion, Field(discriminator="kind")]


class SimulationConfig(Section):
    """Everything about a simulation."""

    model: Path | None = Field(default=None, description="base structure; may be left out for a trajectory")
    placement: Literal["centred", "as-is"] = Field(
        default="centred", description="centred: the beads' mean goes to the box centre"
    )
    motion: Motion
    jitter: JitterSettings | None = Field(default=None, description="null: none")
    absent: tuple[AbsentResidues, ...] = Field(default=(), description="residues that some or all images lack")
    images: ImageSettings = ImageSettings()
    optics: Annotated[tuple[OpticsSettings, ...], BeforeValidator(as_groups), Field(min_length=1)] = (OpticsSettings(),)
    ctf: Annotated[FixedCtf | DistributedCtf, Field(discriminator="kind")] = FixedCtf(kind="fixed")
    pose_errors: PoseErrors = PoseErrors()
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _hinges_need_a_model(self) -> SimulationConfig:
        if self.model is None and isinstance(self.motion, HingeMotion):
            raise ValueError("a hinge motion needs `model`, the structure whose domains move")
        return self


def load_simulation(path: Path, *, seed: int | None = None) -> SimulationConfig:
    """The simulation a YAML file describes; paths in it are relative to its folder.

    seed: instead of the file's.

    Raises:
        ConfigError: for a file that cannot be read, unknown keys (with the nearest known one) and wrong values.
    """
    values = read_yaml(path) | ({} if seed is None else {"seed": seed})
    config = validate(SimulationConfig, values, origin=str(path))
    folder = path.resolve().parent
    motion = config.motion
    if isinstance(motion, TrajectoryMotion):
        topology = None if motion.topology is None else folder / motion.topology
        motion = motion.model_copy(update={"trajectory": folder / motion.trajectory, "topology": topology})
    model = None if config.model is None else folder / config.model
    return config.model_copy(update={"model": model, "motion": motion})
