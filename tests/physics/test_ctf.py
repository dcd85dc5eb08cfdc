"""The contrast transfer function against another library, the textbook formula, and its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch_ctf import calculate_ctf_2d

from cryosphere.fourier import frequency_components
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer, electron_wavelength
from cryosphere.imaging.grid import ImageGrid

DEFOCUS_U, DEFOCUS_V, ANGLE = 15301.1, 14916.4, math.radians(35.28)


def parameters(**changed: float) -> CtfParameters:
    """The paper's table 1, in double precision, with some values changed."""
    values = {
        "defocus_u": DEFOCUS_U,
        "defocus_v": DEFOCUS_V,
        "defocus_angle": ANGLE,
        "phase_shift": 0.0,
        "b_factor": 0.0,
        "scale": 1.0,
        "voltage_kv": 300.0,
        "spherical_aberration_mm": 2.7,
        "amplitude_contrast": 0.07,
    } | changed
    return CtfParameters(**{name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()})


@pytest.mark.parametrize(("kilovolts", "wavelength"), [(100, 0.0370144), (200, 0.0250793), (300, 0.0196875)])
def test_wavelengths_are_those_of_the_tables(kilovolts: float, wavelength: float) -> None:
    # Williams & Carter, Transmission Electron Microscopy, table 1.2 (relativistic), with one more digit
    assert electron_wavelength(torch.tensor(float(kilovolts))).item() == pytest.approx(wavelength, rel=2e-5)


@pytest.mark.parametrize("box", [64, 65])
def test_ctf_is_the_formula_of_the_conventions_page_literally(box: int) -> None:
    grid = ImageGrid(box, 1.3)
    p = parameters(phase_shift=0.4, b_factor=60.0, scale=0.9)
    fy, fx = frequency_components(box, 1.3, dtype=torch.float64)
    x, y = np.broadcast_arrays(fx.numpy(), fy.numpy())
    s, theta = np.hypot(x, y), np.arctan2(y, x)
    volts = 300e3
    wavelength = 12.2642596 / math.sqrt(volts + 0.978475598e-6 * volts**2)
    defocus = 0.5 * (DEFOCUS_U + DEFOCUS_V + (DEFOCUS_U - DEFOCUS_V) * np.cos(2 * (theta - ANGLE)))
    chi = math.pi * wavelength * defocus * s**2 - 0.5 * math.pi * 2.7e7 * wavelength**3 * s**4 + 0.4
    expected = 0.9 * np.exp(-60 * s**2 / 4) * (math.sqrt(1 - 0.07**2) * np.sin(chi) + 0.07 * np.cos(chi))
    assert np.allclose(contrast_transfer(p, grid)[0].numpy(), expected, atol=1e-7)


def test_ctf_agrees_with_torch_ctf_up_to_its_overall_sign() -> None:
    box, pixel = 64, 1.5
    theirs = calculate_ctf_2d(
        defocus=0.5 * (DEFOCUS_U + DEFOCUS_V) * 1e-4,
        astigmatism=0.5 * (DEFOCUS_U - DEFOCUS_V) * 1e-4,
        astigmatism_angle=math.degrees(ANGLE),
        voltage=300,
        spherical_aberration=2.7,
        amplitude_contrast=0.07,
        phase_shift=0,
        pixel_size=pixel,
        image_shape=(box, box),
        rfft=True,
        fftshift=False,
    )
    ours = contrast_transfer(parameters(), ImageGrid(box, pixel))[0]
    theirs = theirs.squeeze().to(torch.float64)
    sign = torch.sign((ours * theirs).sum())
    assert (ours - sign * theirs).abs().max() < 2e-3  # it computes in single precision


def test_ctf_is_plus_the_amplitude_contrast_at_zero_frequency() -> None:
    assert contrast_transfer(parameters(), ImageGrid(32, 2.0))[0, 0, 0].item() == pytest.approx(0.07)


def test_astigmatism_is_measured_from_x_towards_y() -> None:
    grid = ImageGrid(64, 1.5)
    along_x = contrast_transfer(parameters(defocus_u=20000.0, defocus_v=10000.0, defocus_angle=0.0), grid)[0]
    round_u = contrast_transfer(parameters(defocus_u=20000.0, defocus_v=20000.0), grid)[0]
    round_v = contrast_transfer(parameters(defocus_u=10000.0, defocus_v=10000.0), grid)[0]
    assert torch.allclose(along_x[0, :], round_u[0, :], atol=1e-9)  # the x axis sees defocus U
    assert torch.allclose(along_x[:, 0], round_v[:, 0], atol=1e-9)  # the y axis sees defocus V


def test_each_particle_has_the_optics_of_its_own_group() -> None:
    both = CtfParameters(
        *(
            torch.cat([a, b])
            for a, b in zip(
                vars(parameters()).values(),
                vars(parameters(voltage_kv=200.0, amplitude_contrast=0.1)).values(),
                strict=True,
            )
        )
    )
    grid = ImageGrid(32, 2.0)
    transfer = contrast_transfer(both, grid)
    assert torch.allclose(transfer[0], contrast_transfer(parameters(), grid)[0])
    assert transfer[1, 0, 0].item() == pytest.approx(0.1)
