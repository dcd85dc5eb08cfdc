"""What a simulation is told about the protein: which residues move how, jitter, and what some images lack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from cryosphere.settings import Section

Vector = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _require_as_many(section: Section, names: Sequence[str], of: str) -> None:
    """ValueError where one of the lists has another length than the list `of`; null lists are passed over."""
    expected = len(getattr(section, of))
    for name in names:
        values = getattr(section, name)
        if values is not None and len(values) != expected:
            raise ValueError(f"{name} has {len(values)} values for {expected} {of}")


class ResidueRange(Section):
    """Residues of one chain, by the numbers in the model file, both ends included."""

    chain: str
    first: int | None = Field(default=None, description="null: from the chain's first residue")
    last: int | None = Field(default=None, description="null: to the chain's last residue")

    @model_validator(mode="after")
    def _in_order(self) -> ResidueRange:
        if self.first is not None and self.last is not None and self.last < self.first:
            raise ValueError(f"first ({self.first}) must not be after last ({self.last})")
        return self


def _form(value: Any) -> str | None:
    """Which form a setting has that may be given in two: a list, a word (or path), or true and false."""
    if isinstance(value, list | tuple):
        return "list"
    if isinstance(value, bool):
        return "switch"
    return "word" if isinstance(value, str | Path) else None


def _forms(message: str) -> Discriminator:
    return Discriminator(_form, custom_error_type="wrong_form", custom_error_message=message)


Superpose = Annotated[
    Annotated[bool, Tag("switch")] | Annotated[tuple[ResidueRange, ...], Tag("list")],
    _forms("must be true, false, or a list of residue ranges such as [{chain: A, first: 1, last: 90}]"),
]
Weights = Annotated[
    Annotated[tuple[NotNegative, ...], Tag("list")] | Annotated[Path, Tag("word")],
    _forms("must be a list of numbers or the name of a text file of numbers"),
]
Pivot = Annotated[
    Annotated[Literal["attachment"], Tag("word")] | Annotated[Vector, Tag("list")],
    _forms("must be attachment or a point [x, y, z]"),
]


class NormalMixture(Section):
    """Angles drawn from a mixture of normal distributions (equation 11 of the paper)."""

    kind: Literal["normal_mixture"]
    means_degrees: tuple[float, ...] = Field(min_length=1)
    standard_deviations_degrees: tuple[NotNegative, ...]
    weights: tuple[Positive, ...] | None = Field(default=None, description="null: equal")

    @model_validator(mode="after")
    def _components_match(self) -> NormalMixture:
        _require_as_many(self, ("standard_deviations_degrees", "weights"), of="means_degrees")
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


class DiscreteAngles(Section):
    """A few states, each with its share of the images."""

    kind: Literal["discrete"]
    angles_degrees: tuple[float, ...] = Field(min_length=1)
    weights: tuple[Positive, ...] | None = Field(default=None, description="null: equal")

    @model_validator(mode="after")
    def _states_match(self) -> DiscreteAngles:
        _require_as_many(self, ("weights",), of="angles_degrees")
        return self


class HingeDomain(Section):
    """Residues that turn together about an axis through a point."""

    residues: tuple[ResidueRange, ...] = Field(min_length=1)
    axis: Vector = Field(description="direction; the turn is right-handed about it; any length")
    pivot: Pivot = Field(default="attachment", description="a point on the axis, in the model file's coordinates")
    scale: float = Field(default=1.0, description="times the angle; -1 turns the other way")

    @model_validator(mode="after")
    def _turns_about_something(self) -> HingeDomain:
        if not any(self.axis):
            raise ValueError("axis must not be (0, 0, 0)")
        if self.scale == 0:
            raise ValueError("scale must not be 0: leave a domain that does not move out")
        return self


class HingeMotion(Section):
    """Rigid domains turn about hinges, all by the same angle (times their scale), which differs between images."""

    kind: Literal["hinge"]
    domains: tuple[HingeDomain, ...] = Field(min_length=1)
    angles: Annotated[NormalMixture | UniformAngles | DiscreteAngles, Field(discriminator="kind")]
    conformations: int = Field(default=1000, ge=1, description="different angles drawn; at most one per image")


class TrajectoryMotion(Section):
    """Conformations are the frames of a trajectory: DCD, XTC, or several models in one PDB or mmCIF file."""

    kind: Literal["trajectory"]
    trajectory: Path
    topology: Path | None = Field(default=None, description="model with the trajectory's atoms, for DCD and XTC")
    first: int = Field(default=0, ge=0)
    last: int | None = Field(default=None, ge=1, description="frame before which to stop; null: to the end")
    step: int = Field(default=1, ge=1)
    superpose: Superpose = Field(
        default=True, description="lay every frame on the base structure: by all residues, by these, or not at all"
    )
    weights: Weights | None = Field(
        default=None, description="of the frames used, in the configuration or in a text file; null: equal"
    )


class UniformStates(Section):
    """Fractions of the way drawn uniformly."""

    kind: Literal["uniform"]
    low: Fraction = 0.0
    high: Fraction = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> UniformStates:
        if self.high < self.low:
            raise ValueError("high must not be below low")
        return self


class NormalMixtureStates(Section):
    """Fractions of the way drawn from a mixture of normal distributions, cut off at 0 and 1."""

    kind: Literal["normal_mixture"]
    means: tuple[Fraction, ...] = Field(min_length=1)
    standard_deviations: tuple[NotNegative, ...]
    weights: tuple[Positive, ...] | None = Field(default=None, description="null: equal")

    @model_validator(mode="after")
    def _components_match(self) -> NormalMixtureStates:
        _require_as_many(self, ("standard_deviations", "weights"), of="means")
        return self


class DiscreteStates(Section):
    """A few places on the way, each with its share of the images."""

    kind: Literal["discrete"]
    values: tuple[Fraction, ...] = Field(min_length=1)
    weights: tuple[Positive, ...] | None = Field(default=None, description="null: equal")

    @model_validator(mode="after")
    def _states_match(self) -> DiscreteStates:
        _require_as_many(self, ("weights",), of="values")
        return self


class RigidDomain(Section):
    """Residues that move as one body."""

    residues: tuple[ResidueRange, ...] = Field(min_length=1)


Domains = Annotated[
    Annotated[Literal["auto"], Tag("word")] | Annotated[tuple[RigidDomain, ...], Tag("list")],
    _forms("must be auto or a list of domains such as [{residues: [{chain: A, first: 1, last: 90}]}]"),
]


class InterpolationMotion(Section):
    """Conformations lie on the way between two structures of one protein; rigid bodies move along screws."""

    kind: Literal["interpolation"]
    start: Path = Field(description="the base structure, t = 0")
    end: Path = Field(description="a structure with the same residues, t = 1")
    domains: Domains = Field(
        default="auto", description="rigid bodies; what is in none of them is one more. auto: found"
    )
    states: Annotated[UniformStates | NormalMixtureStates | DiscreteStates, Field(discriminator="kind")] = (
        UniformStates(kind="uniform")
    )
    superpose: Superpose = Field(
        default=True, description="lay the end on the start: by its largest body, by these residues, or not at all"
    )
    conformations: int = Field(default=1000, ge=1, description="different states drawn; at most one per image")


class JitterSettings(Section):
    """Thermal motion of an elastic network (anisotropic network model), a new draw for every conformation."""

    rms: float = Field(default=1.0, gt=0, le=20, description="Å, root mean square over residues and conformations")
    modes: int = Field(default=30, ge=1, le=500, description="softest internal modes that take part")
    cutoff: float = Field(default=12.0, gt=0, le=50, description="Å; beads closer than this are joined by springs")


class AbsentResidues(Section):
    """Residues that a fraction of the images lack."""

    residues: tuple[ResidueRange, ...] = Field(min_length=1)
    fraction: float = Field(default=1.0, gt=0, le=1, description="of the images, chosen at random")
