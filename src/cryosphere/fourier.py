"""The one pair of Fourier transforms, and what is exact in Fourier space: cropping, shifting, filtering.

A spectrum is the half-spectrum of a real image, (..., box, box // 2 + 1), with orthonormal scaling and its phase
origin at pixel (0, 0). Spectra of two images taken with this pair can be compared directly. The physical centre of an
image is pixel box // 2, for even and odd boxes.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def to_spectrum(images: Float[Tensor, "*batch box box"]) -> Complex[Tensor, "*batch box half"]:
    """Half-spectrum of real images, orthonormal: the sum of squares is kept (see `parseval_weights`)."""
    spectra: Tensor = torch.fft.rfft2(images, norm="ortho")
    return spectra


def to_truncated_spectrum(
    images: Float[Tensor, "*batch box box"], new_box: int
) -> Complex[Tensor, "*batch new newhalf"]:
    """What `truncate(to_spectrum(images), ..)` gives, without transforming the columns that would be dropped."""
    columns = torch.fft.rfft(images, dim=-1, norm="ortho")[..., : new_box // 2 + 1]
    return truncate(torch.fft.fft(columns, dim=-2, norm="ortho"), images.shape[-1], new_box)


def from_spectrum(spectra: Complex[Tensor, "*batch box half"], box: int) -> Float[Tensor, "*batch box box"]:
    """Real images of `box` pixels from their half-spectra; the inverse of `to_spectrum`."""
    images: Tensor = torch.fft.irfft2(spectra, s=(box, box), norm="ortho")
    return images


def integer_frequencies(box: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Row frequencies (box, 1) and column frequencies (1, box // 2 + 1), in whole cycles per box, as int64."""
    rows = (torch.arange(box, device=device) + box // 2) % box - box // 2
    columns = torch.arange(box // 2 + 1, device=device)
    return rows[:, None], columns[None, :]


def frequency_components(
    box: int, pixel_size: float, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Spatial frequencies (fy, fx) in 1/Å: (box, 1) along rows and (1, box // 2 + 1) along columns."""
    rows, columns = integer_frequencies(box, device)
    scale = 1.0 / (box * pixel_size)
    return rows.to(dtype) * scale, columns.to(dtype) * scale


def radial_frequencies(
    box: int, pixel_size: float, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Float[Tensor, "box half"]:
    """Length of the spatial frequency in 1/Å at every point of a half-spectrum."""
    fy, fx = frequency_components(box, pixel_size, device, dtype)
    return torch.sqrt(fy**2 + fx**2)


def parseval_weights(box: int, device: torch.device | str = "cpu") -> Float[Tensor, "box half"]:
    """How often each point of a half-spectrum stands in the full one: 1 in the first (and Nyquist) column, else 2.

    With them, sum(weights * |spectrum|²) = sum(image²).
    """
    weights = torch.full((box, box // 2 + 1), 2.0, device=device)
    weights[:, 0] = 1.0
    if box % 2 == 0:
        weights[:, -1] = 1.0
    return weights


def truncate(
    spectra: Complex[Tensor, "*batch box half"], box: int, new_box: int
) -> Complex[Tensor, "*batch new newhalf"]:
    """Keep the lowest frequencies of images: the field of view and pixel (0, 0) stay, the pixels grow.

    Grey values are kept. On the Nyquist lines of an even new box the two frequencies that fall together are averaged.

    Raises:
        ValueError: if new_box is larger than box.
    """
    if new_box > box:
        raise ValueError(f"a Fourier crop cannot enlarge an image: {box} to {new_box} pixels")
    if new_box == box:
        return spectra
    half = new_box // 2
    columns = spectra[..., : half + 1]
    if new_box % 2:
        kept = torch.cat([columns[..., : half + 1, :], columns[..., box - half :, :]], dim=-2)
    else:
        nyquist = 0.5 * (columns[..., half : half + 1, :] + columns[..., box - half : box - half + 1, :])
        kept = torch.cat([columns[..., :half, :], nyquist, columns[..., box - half + 1 :, :]], dim=-2)
        mirrored = kept[..., -torch.arange(new_box, device=kept.device) % new_box, half].conj()
        kept = torch.cat([kept[..., :half], (0.5 * (kept[..., half] + mirrored))[..., None]], dim=-1)
    return kept * (new_box / box)


def crop(spectra: Complex[Tensor, "*batch box half"], box: int, new_box: int) -> Complex[Tensor, "*batch new newhalf"]:
    """Downsample images, moving the physical centre from pixel box // 2 to pixel new_box // 2 exactly.

    Like `truncate`, for any parities of the two boxes.
    """
    offset = (new_box // 2) / new_box - (box // 2) / box  # of the centre, as a fraction of the field of view
    if abs(offset) > 1e-12:  # shift before the Nyquist lines are averaged
        spectra = shift(spectra, box, spectra.real.new_full((2,), offset * box))
    return truncate(spectra, box, new_box)


def shift(
    spectra: Complex[Tensor, "*batch box half"], box: int, pixels: Float[Tensor, "*#batch 2"]
) -> Complex[Tensor, "*batch box half"]:
    """Move the content of images by `pixels` (x, y): a phase ramp, exact for any fraction of a pixel (and periodic)."""
    rows, columns = integer_frequencies(box, spectra.device)
    along_x, along_y = (
        torch.exp((-2j * math.pi / box) * (frequencies * pixels[..., axis, None, None])).to(spectra.dtype)
        for axis, frequencies in enumerate((columns, rows))
    )
    return spectra * along_y * along_x  # a sine and cosine for each row and column, not for each pixel


def low_pass(
    box: int, pixel_size: float, resolution: float | None, device: torch.device | str = "cpu"
) -> Float[Tensor, "box half"]:
    """Filter that keeps frequencies up to 1/resolution (Å) and falls to 0 by a cosine over the next 10 %, ≥ 2 shells.

    `None` keeps everything.
    """
    if resolution is None:
        return torch.ones((box, box // 2 + 1), device=device)
    cutoff = 1.0 / resolution
    width = max(0.1 * cutoff, 2.0 / (box * pixel_size))
    beyond = (radial_frequencies(box, pixel_size, device) - cutoff) / width
    return 0.5 * (1 + torch.cos(math.pi * beyond.clamp(0.0, 1.0)))


def up_to(
    box: int, pixel_size: float, resolution: float, device: torch.device | str = "cpu"
) -> Float[Tensor, "box half"]:
    """1 for frequencies up to 1/resolution (Å), 0 beyond, and 0 on an even box's Nyquist lines, which hold no phase."""
    kept = (radial_frequencies(box, pixel_size, device) <= 1 / resolution).to(torch.float32)
    if box % 2 == 0:
        kept[box // 2] = 0
        kept[:, -1] = 0
    return kept


def pixel_radii(box: int, device: torch.device | str = "cpu") -> Float[Tensor, "box box"]:
    """Distance of every pixel from the centre pixel box // 2, in pixels."""
    axis = torch.arange(box, device=device, dtype=torch.float32) - box // 2
    return torch.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)


def soft_disc(
    box: int, radius_pixels: float, width_pixels: float, device: torch.device | str = "cpu"
) -> Float[Tensor, "box box"]:
    """Mask of 1 inside the radius around the centre pixel, 0 outside radius + width, a cosine in between."""
    beyond = (pixel_radii(box, device) - radius_pixels) / max(width_pixels, 1e-6)
    return 0.5 * (1 + torch.cos(math.pi * beyond.clamp(0.0, 1.0)))
