"""Every setting of a run: names, defaults, ranges. What the user leaves out, `resolve` fills in and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from cryosphere.settings import Section
from cryosphere.training.schedules import Constant, Linear, Schedule


def _number_is_constant(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"kind": "constant", "value": value}
    return value


DEFAULT_SEGMENTS = 10
Scheduled = Annotated[Schedule, BeforeValidator(_number_is_constant)]


def _one_is_list(value: Any) -> Any:
    return [value] if isinstance(value, str | Path) else value


class ParticleSettings(Section):
    """Which particles."""

    files: Annotated[tuple[Path, ...], BeforeValidator(_one_is_list)] = Field(min_length=1)
    datadir: Path | None = None


class ImageSettings(Section):
    """How images are prepared, once, before training."""

    box: int | None = Field(default=None, ge=8, description="pixels after Fourier cropping; by default ~2 Å pixels")
    contrast: Literal["auto", "white", "black"] = "auto"
    background_radius: float | None = Field(default=None, gt=0, description="Å; noise is measured outside")
    soft_edge: float = Field(default=0.1, ge=0, le=0.9, description="width of the edge, of half the box; 0 is off")


class BeadSettings(Section):
    """How a structure becomes density."""

    sigma: float = Field(default=2.0, gt=0, le=20, description="Å, of each bead's Gaussian")


class PartSettings(Section):
    """A stretch of one chain that is cut into segments; what lies outside all parts stays fixed."""

    chain: str
    first: int | None = None
    last: int | None = None
    segments: int = Field(default=4, ge=1)
    means: tuple[float, ...] | None = Field(default=None, description="start values, residue numbers of the model")
    widths: tuple[float, ...] | None = Field(default=None, description="start values, residues")

    @model_validator(mode="after")
    def _start_values_match(self) -> PartSettings:
        for name in ("means", "widths"):
            values = getattr(self, name)
            if values is not None and len(values) != self.segments:
                raise ValueError(f"{name} has {len(values)} values for {self.segments} segments")
            if name == "widths" and values is not None and min(values) <= 0:
                raise ValueError("widths must be positive")
        return self


class SegmentationSettings(Section):
    """How the chain is cut."""

    count: int | None = Field(default=None, ge=1, description="segments at most, over the whole model; by default 10")
    parts: tuple[PartSettings, ...] = Field(default=(), description="stretches to cut; the rest then stays fixed")
    temperature: float = Field(default=20.0, gt=0)
    prior_sd: float = Field(default=1.0, gt=0, description="in segment lengths for the means")

    @model_validator(mode="after")
    def _count_or_parts(self) -> SegmentationSettings:
        if self.count is not None and self.parts:
            raise ValueError("give the number of segments in each part, or for the whole model, not both")
        return self


class EncoderSettings(Section):
    """From an image to its latent."""

    kind: Literal["lifted", "mlp", "free"] = "lifted"
    latent_dim: int = Field(default=8, ge=1)
    hidden: tuple[PositiveInt, ...] = (512, 256, 128)
    grid: int = Field(default=12, ge=4, le=32, description="points per axis of the lifted encoder's grid")
    mask_radius: float = Field(default=0.9375, gt=0, le=1.5, description="of half the box, for the mlp encoder")


class DecoderSettings(Section):
    """From a latent to the segments' motions."""

    hidden: tuple[PositiveInt, ...] = (256, 256)
    pivot: Literal["segment", "box"] = "segment"
    rotation_scale: float = Field(default=0.25, gt=0, description="half an angle, radians, per unit of output")
    translation_scale: float = Field(default=5.0, gt=0, description="Å per unit of output")


class LossSettings(Section):
    """What is minimised."""

    kl: Literal["calibrated", "paper"] = "calibrated"
    kl_latent: Scheduled = Linear(start=0.1, end=1.0, until=0.5)
    kl_segments: Scheduled = Constant(value=1.0)
    continuity: Scheduled = Constant(value=0.0)
    clash: Scheduled = Constant(value=0.0)
    elastic: Scheduled = Constant(value=0.0)
    clash_distance: float = Field(default=4.0, gt=0, description="Å")
    elastic_cutoff: float = Field(default=12.0, gt=0, description="Å between neighbours in the base structure")
    low_pass: float | None = Field(default=None, gt=0, description="Å, of observed and predicted images")
    mask_radius: float | None = Field(default=None, gt=0, le=1.5, description="of half the box, on both images")


class TrainingSettings(Section):
    """The loop."""

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, description="of encoder and decoder")
    segmentation_learning_rate: float = Field(default=1e-2, gt=0)
    learning_rate_schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=1e-4, ge=0)
    gradient_clip: float | None = Field(default=1.0, gt=0, description="largest norm of the gradient; null is off")
    validation_fraction: float = Field(default=0.05, ge=0, lt=1, description="held out; none with the free encoder")
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_minutes: float = Field(default=10.0, gt=0, description="beside the one after every epoch")
    keep_checkpoints: int = Field(default=3, ge=2)


class Config(Section):
    """Everything about a run."""

    particles: ParticleSettings
    model: Path
    images: ImageSettings = ImageSettings()
    beads: BeadSettings = BeadSettings()
    segmentation: SegmentationSettings = SegmentationSettings()
    encoder: EncoderSettings = EncoderSettings()
    decoder: DecoderSettings = DecoderSettings()
    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()
