"""What a simulation is told: which protein moves how, and how its images are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

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
    InterpolationMotion,
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
    "InterpolationMotion",
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

Motion = Annotated[HingeMotion | TrajectoryMotion | InterpolationMotion, Field(discriminator="kind")]


class SimulationConfig(Section):
    """Everything about a simulation."""

    model: Path | None = Field(default=None, description="base structure of a hinge; a trajectory has its own")
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
    truth_atoms: bool = Field(default=False, description="write truth_atoms.npy: all atoms of every conformation")
    seed: int = Field(default=0, ge=0, lt=2**63)

    @field_validator("motion")
    @classmethod
    def _goes_with_the_model(cls, motion: Motion, info: ValidationInfo) -> Motion:
        model = info.data.get("model", motion)  # anything but None where the model itself is wrong
        if model is None and isinstance(motion, HingeMotion):
            raise ValueError("a hinge needs `model`, the structure whose domains move")
        if isinstance(model, Path) and isinstance(motion, InterpolationMotion):
            raise ValueError("an interpolation takes its base structure from `start`: leave `model` out")
        return motion


def load_simulation(path: Path, *, seed: int | None = None) -> SimulationConfig:
    """The simulation a YAML file describes; paths in it are relative to its folder.

    seed: instead of the file's.

    Raises:
        ConfigError: for a file that cannot be read, unknown keys (with the nearest known one) and wrong values.
    """
    values = read_yaml(path) | ({} if seed is None else {"seed": seed})
    config = validate(SimulationConfig, values, origin=str(path))
    folder = path.resolve().parent
    motion = config.motion.model_copy(update=_inside(folder, config.motion))
    return config.model_copy(update=_inside(folder, config) | {"motion": motion})


def _inside(folder: Path, section: Section) -> dict[str, Path]:
    """The paths among the section's settings, taken relative to `folder`."""
    settings = {name: getattr(section, name) for name in type(section).model_fields}
    return {name: folder / value for name, value in settings.items() if isinstance(value, Path)}
