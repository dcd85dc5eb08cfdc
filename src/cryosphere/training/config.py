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

    files: Annotated[tuple[Path, ...], BeforeValidator(_one_is_list)] = Field(
        min_length=1, description="a RELION .star, or cryoSPARC .cs files of the same particles, the first leading"
    )
    datadir: Path | None = Field(default=None, description="folder in which image stacks are looked for first")
    check: Literal["stop", "warn", "off"] = Field(
        default="stop",
        description="a short `cryosphere doctor` before a new run: stop at what is certainly wrong, or warn",
    )


class ImageSettings(Section):
    """How images are prepared, once, before training."""

    box: int | None = Field(default=None, ge=8, description="pixels after Fourier cropping; by default ~2 Å pixels")
    contrast: Literal["auto", "white", "black"] = Field(
        default="auto", description="protein bright or dark in the stack; auto finds out from the model"
    )
    background_radius: float | None = Field(default=None, gt=0, description="Å; noise is measured outside")
    soft_edge: float = Field(default=0.1, ge=0, le=0.9, description="width of the edge, of half the box; 0 is off")


class BeadSettings(Section):
    """How a structure becomes density."""

    sigma: float = Field(default=2.0, gt=0, le=20, description="Å, of each bead's Gaussian")


class PartSettings(Section):
    """A stretch of one chain that is cut into segments; what lies outside all parts stays fixed."""

    chain: str = Field(description="chain id of the model")
    first: int | None = Field(default=None, description="residue number; by default the chain's first")
    last: int | None = Field(default=None, description="residue number, included; by default the chain's last")
    segments: int = Field(default=4, ge=1, description="at most")
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

    count: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        default=None,
        description="segments at most, over the whole model; by default 10; auto: as many as held-out images bear out",
    )
    start: int | None = Field(
        default=None,
        ge=1,
        description="segments that count: auto begins with; by default one for 80 residues, but 10 to 30",
    )
    parts: tuple[PartSettings, ...] = Field(default=(), description="stretches to cut; the rest then stays fixed")
    temperature: float = Field(default=20.0, gt=0, description="τ of equation 6; higher is sharper")
    prior_sd: float = Field(default=1.0, gt=0, description="in segment lengths for the means")
    join: bool = Field(default=True, description="join neighbours that move alike, when three fifths are done")

    @model_validator(mode="after")
    def _count_or_parts(self) -> SegmentationSettings:
        if self.count is not None and self.parts:
            raise ValueError("give the number of segments in each part, or for the whole model, not both")
        if self.start is not None and self.count != "auto":
            raise ValueError("start is for count: auto, which begins with it; a number of segments is given as count")
        if self.count == "auto" and not self.join:
            raise ValueError("count: auto finds the number of segments by joining them, which join: false forbids")
        return self


class EncoderSettings(Section):
    """From an image to its latent."""

    kind: Literal["lifted", "mlp", "free"] = Field(
        default="lifted", description="images in the molecule's frame, pixels, or one latent per image"
    )
    latent_dim: int = Field(default=8, ge=1, description="numbers per image; those not needed stay at the prior")
    hidden: tuple[PositiveInt, ...] = Field(default=(512, 256, 128), description="layers, of lifted and mlp")
    grid: int | None = Field(
        default=None,
        ge=4,
        le=32,
        description="points per axis of the lifted encoder's grid; by default about 8 Å apart, at least 16",
    )
    residual: bool = Field(default=False, description="the lifted encoder sees images less the unmoved structure")
    mask_radius: float = Field(default=0.9375, gt=0, le=1.5, description="of half the box, for the mlp encoder")


class DecoderSettings(Section):
    """From a latent to the segments' motions."""

    hidden: tuple[PositiveInt, ...] = Field(default=(256, 256), description="layers")
    pivot: Literal["segment", "box"] = Field(default="segment", description="what segments turn about: their centres")
    rotation_scale: float = Field(default=0.25, gt=0, description="half an angle, radians, per unit of output")
    translation_scale: float = Field(default=5.0, gt=0, description="Å per unit of output")


class OccupancySettings(Section):
    """Whether to learn how much of each residue the images show, relative to those they show most."""

    kind: Literal["off", "global", "latent"] = Field(
        default="off", description="all residues whole; one occupancy for all images; or one that follows the latent"
    )
    per: Literal["residue", "segment"] = Field(default="residue", description="what has an occupancy of its own")
    window: int = Field(default=4, ge=1, description="residues between places along the chain, per residue")
    hidden: tuple[PositiveInt, ...] = Field(default=(128,), description="layers of the latent's network")
    absence: float = Field(default=1.0, ge=0, description="nats that a missing residue costs, once for the data set")
    step: float = Field(default=1.0, ge=0, description="nats, likewise, of each end of a missing stretch")
    learning_rate: float = Field(default=3e-2, gt=0, description="of what does not follow the latent")


class LossSettings(Section):
    """What is minimised."""

    kl: Literal["calibrated", "paper"] = Field(default="calibrated", description="what a nat weighs; see Method")
    kl_latent: Scheduled = Field(default=Linear(start=0.1, end=1.0, until=0.5), description="factor of the latents' KL")
    kl_segments: Scheduled = Field(default=Constant(value=1.0), description="factor of the segmentation's KL")
    continuity: Scheduled = Field(default=Constant(value=0.0), description="weight of equation 9, per Å²")
    clash: Scheduled = Field(default=Constant(value=0.0), description="weight of equation 10, per Å²")
    elastic: Scheduled = Field(default=Constant(value=0.0), description="weight of the elastic network, per Å²")
    clash_distance: float = Field(default=4.0, gt=0, description="Å below which two residues clash")
    elastic_cutoff: float = Field(default=12.0, gt=0, description="Å between neighbours in the base structure")
    low_pass: float | None = Field(default=None, gt=0, description="Å, of observed and predicted images")
    coarse_until: float = Field(
        default=0.0, ge=0, le=1, description="fraction of training, from coarse to fine; 0: off"
    )
    coarse_resolution: float = Field(default=20.0, gt=0, description="Å, what training then starts at")
    mask_radius: float | None = Field(default=None, gt=0, le=1.5, description="of half the box, on both images")


class TrainingSettings(Section):
    """The loop."""

    epochs: int | None = Field(default=None, ge=1, description="passes over the images; by default from their number")
    batch_size: int | None = Field(
        default=None, ge=1, description="images per step; by default 128, or more if faster and steps enough remain"
    )
    images_at_once: int | None = Field(
        default=None, ge=1, description="of a step, to save memory; by default all, fewer when memory runs out"
    )
    learning_rate: float = Field(default=3e-3, gt=0, description="of encoder and decoder")
    segmentation_learning_rate: float = Field(default=1e-2, gt=0, description="of the mixture that cuts the chain")
    learning_rate_schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="a short rise and half a cosine down to a twentieth, or always the same"
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="of the networks' weights")
    average: float = Field(default=0.0, ge=0, lt=1, description="decay of a running average of the weights; 0 is off")
    gradient_clip: float | None = Field(default=1.0, gt=0, description="largest norm of the gradient; null is off")
    second_look: bool = Field(default=True, description="at the end, mend latents of images the encoder misjudged")
    validation_fraction: float = Field(default=0.05, ge=0, lt=1, description="held out; none with the free encoder")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of everything random")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto takes a GPU if there is one")
    checkpoint_minutes: float = Field(default=10.0, gt=0, description="beside the one after every epoch")
    keep_checkpoints: int = Field(default=3, ge=2, description="the newest that stay on disk")


class Config(Section):
    """Everything about a run."""

    particles: ParticleSettings
    model: Path = Field(description="atomic model, PDB or mmCIF; its origin is the centre of the images' box")
    images: ImageSettings = ImageSettings()
    beads: BeadSettings = BeadSettings()
    segmentation: SegmentationSettings = SegmentationSettings()
    encoder: EncoderSettings = EncoderSettings()
    decoder: DecoderSettings = DecoderSettings()
    occupancy: OccupancySettings = OccupancySettings()
    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()
