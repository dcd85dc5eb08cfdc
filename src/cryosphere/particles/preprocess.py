"""From an image as it was extracted to what the model is compared with: downsampled, centred, normalised, masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryosphere import fourier
from cryosphere.errors import ConfigError

LARGEST_BACKGROUND_RADIUS = 0.9  # of half the box: the corners always remain as background
_SMALLEST_BOX = 8
_FLAT_BACKGROUND = 1e-4  # of the whole image's standard deviation: no noise to normalise by


@dataclass(frozen=True)
class PreprocessSettings:
    """How images are prepared.

    box: pixels of the result's side, at most those of the images; None keeps them.
    contrast: "white" where the protein is bright in the stack, "black" where it is dark (it is then inverted).
    background_radius: Å; what lies further from the centre is background. At most 0.9 of half the box is used.
    soft_edge: width of the cosine with which the image falls to 0 at half the box, as a fraction of that; 0 turns
        masking off.
    """

    box: int | None
    contrast: Literal["white", "black"]
    background_radius: float
    soft_edge: float

    def __post_init__(self) -> None:
        if not self.background_radius > 0:
            raise ConfigError(f"background radius is {self.background_radius} Å; it must be above 0.")
        if not 0 <= self.soft_edge <= 1:
            raise ConfigError(f"soft edge is {self.soft_edge}; it is a fraction of half the box, from 0 to 1.")
        if self.contrast not in ("white", "black"):
            raise ConfigError(f"contrast is {self.contrast!r}; expected 'white' or 'black'.")

    def output_box(self, image_box: int) -> int:
        """Side of the result for images of `image_box` pixels. Raises ConfigError if it cannot be had."""
        box = image_box if self.box is None else self.box
        if not _SMALLEST_BOX <= box <= image_box:
            raise ConfigError(
                f"box is {box} pixels, but the images have {image_box}: it can be from {_SMALLEST_BOX} to that."
            )
        return box


def preprocess_batch(
    images: Float[Tensor, "n side side"], shifts: Float[Tensor, "n 2"], pixel_size: float, settings: PreprocessSettings
) -> Complex[Tensor, "n box half"]:
    """Downsample, centre, normalise and mask images; return their spectra (see `cryosphere.fourier`).

    images: as extracted. shifts: (x, y) in Å in RELION's sense, so that the particle stands at the image's centre minus
    the shift. pixel_size: Å, of the images as extracted.
    Cropping and shifting happen in Fourier space and are exact; the image then has mean 0 and standard deviation 1 in
    the background. Where there is no noise in the background (simulated images), the whole image's
    root mean square deviation from the background is used.
    """
    side = images.shape[-1]
    box = settings.output_box(side)
    sign = 1.0 if settings.contrast == "white" else -1.0
    spectra = fourier.crop(fourier.to_spectrum(images), side, box)
    new_pixel_size = pixel_size * side / box
    centred = fourier.from_spectrum(fourier.shift(spectra, box, shifts / new_pixel_size), box)
    normalised = normalise_background(centred, settings.background_radius / new_pixel_size)
    return fourier.to_spectrum(normalised * (sign * edge_mask(box, settings.soft_edge, images.device)))


def normalise_background(images: Float[Tensor, "n box box"], radius_pixels: float) -> Float[Tensor, "n box box"]:
    """Bring the pixels outside a circle around the centre to mean 0 and standard deviation 1, image by image."""
    box = images.shape[-1]
    radius = min(radius_pixels, LARGEST_BACKGROUND_RADIUS * (box // 2))
    background = (fourier.pixel_radii(box, images.device) > radius).to(images.dtype)
    background = background / background.sum()  # weights: two products instead of gathering the pixels
    mean = (images * background).sum((1, 2))
    centred = images - mean[:, None, None]
    spread = (centred.square() * background).sum((1, 2)).sqrt()
    whole = torch.linalg.vector_norm(centred, dim=(1, 2)) / box
    spread = torch.where(spread > _FLAT_BACKGROUND * whole, spread, whole)
    return centred / spread[:, None, None]


def edge_mask(box: int, soft_edge: float, device: torch.device | str = "cpu") -> Float[Tensor, "box box"]:
    """Disc that reaches half the box and falls to 0 there over `soft_edge` times half the box; 1 everywhere for 0."""
    half = box / 2
    if soft_edge == 0:
        return torch.ones((box, box), device=device)
    return fourier.soft_disc(box, half * (1 - soft_edge), half * soft_edge, device)
