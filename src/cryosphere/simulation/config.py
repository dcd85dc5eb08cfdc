"""What a simulation is told: which protein moves how, and how its images are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cryosphere.settings import Section, read_yaml, validate

Vector = tuple[float, float, float]
Range = tuple[float, float]


class ResidueRange(Section):
    """Residues of one chain, by the numbers in the model file, both ends included."""

    chain: str
    first: int | None = Field(default=None, description="null: from the chain's first residue")
    last: int | None = Field(default=None, description="null: to the chain's last residue")


class NormalMixture(Section):
    """Angles drawn from a mixture of normal distributions (equation 11 of the paper)."""

    kind: Literal["normal_mixture"]
    means_degrees: tuple[float, ...] = Field(min_length=1)
    standard_deviations_degrees: tuple[Annotated[float, Field(ge=0)], ...]
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(default=None, description="null: equal")

    @model_validator(mode="after")
    def _components_match(self) -> NormalMixture:
        for name in ("standard_deviations_degrees", "weights"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.means_degrees):
                raise ValueError(f"{name} has {len(values)} values for {len(self.means_degrees)} means_degrees")
        return self


class UniformAngles(Section):
    """Angles drawn uniformly between two."""

    kind: Literal["uniform"]
    low_degrees: float
    high_degrees: float

    @model_validator(mode="after")
    def _in_order(self) -> UniformAngles:
        if self.high_degrees < self.low_degrees:
            raise ValueError("high_degrees must not be below low_degrees")
        return self


class HingeDomain(Section):
    """Residues that turn together about an axis through a point."""

    residues: tuple[ResidueRange, ...] = Field(min_length=1)
    axis: Vector = Field(description="direction; the turn is right-handed about it; any length")
    pivot: Literal["attachment"] | Vector = Field(
        default="attachment", description="a point on the axis, in the model file's coordinates"
    )

    @model_validator(mode="after")
    def _axis_has_a_direction(self) -> HingeDomain:
        if not any(self.axis):
            raise ValueError("axis must not be (0, 0, 0)")
        return self


class HingeMotion(Section):
    """Rigid domains turn about hinges, all by the same angle, which differs between images."""

    kind: Literal["hinge"]
    domains: tuple[HingeDomain, ...] = Field(min_length=1)
    angles: Annotated[NormalMixture | UniformAngles, Field(discriminator="kind")]
    conformations: int = Field(default=1000, ge=1, description="different angles drawn; at most one per image")


class TrajectoryMotion(Section):
    """Conformations are the frames of a trajectory: DCD, XTC, or several models in one PDB or mmCIF file."""

    kind: Literal["trajectory"]
    trajectory: Path
    topology: Path | None = Field(default=None, description="model with the trajectory's atoms, for DCD and XTC")
    first: int = Field(default=0, ge=0)
    last: int | None = Field(default=None, ge=1, description="frame before which to stop; null: to the end")
    step: int = Field(default=1, ge=1)


Motion = Annotated[HingeMotion | TrajectoryMotion, Field(discriminator="kind")]


class ImageSettings(Section):
    """How many images of what size and quality."""

    count: int = Field(default=10_000, ge=1)
    box: int = Field(default=64, ge=8, le=4096, description="pixels")
    pixel_size: float = Field(default=3.0, gt=0, description="Å")
    snr: float = Field(default=0.1, gt=0, description="variance of the noiseless images over that of the noise")
    shift: float = Field(default=10.0, ge=0, description="Å; x and y uniform within ± this")
    contrast: Literal["white", "black"] = "white"
    bead_sigma: float = Field(default=2.0, gt=0, le=20, description="Å")


class OpticsSettings(Section):
    """The microscope."""

    voltage_kv: float = Field(default=300.0, gt=0)
    spherical_aberration_mm: float = Field(default=2.7, ge=0)
    amplitude_contrast: float = Field(default=0.07, ge=0, le=1)


class FixedCtf(Section):
    """One defocus for all images; the default is the paper's table 1."""

    kind: Literal["fixed"]
    defocus_u: float = Field(default=15301.1, description="Å, underfocus positive")
    defocus_v: float = Field(default=14916.4, description="Å")
    angle_degrees: float = 5.28


class DistributedCtf(Section):
    """Defocus and astigmatism differ between images, uniformly; the astigmatism's direction is uniform too."""

    kind: Literal["distribution"]
    defocus: Range = Field(default=(10_000.0, 25_000.0), description="Å, mean of the principal defoci: from, to")
    astigmatism: Range = Field(default=(0.0, 500.0), description="Å, their difference: from, to")

    @model_validator(mode="after")
    def _ranges_in_order(self) -> DistributedCtf:
        for name in ("defocus", "astigmatism"):
            low, high = getattr(self, name)
            if high < low:
                raise ValueError(f"{name} must be given as from, to with from ≤ to")
        return self


class SimulationConfig(Section):
    """Everything about a simulation."""

    model: Path | None = Field(default=None, description="base structure; may be left out for a trajectory")
    placement: Literal["centred", "as-is"] = Field(
        default="centred", description="centred: the beads' mean goes to the box centre"
    )
    motion: Motion
    images: ImageSettings = ImageSettings()
    optics: OpticsSettings = OpticsSettings()
    ctf: Annotated[FixedCtf | DistributedCtf, Field(discriminator="kind")] = FixedCtf(kind="fixed")
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
