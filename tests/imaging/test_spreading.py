"""Beads on a grid: both implementations against the kernel's formula, each other, and finite differences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cryosphere.imaging import spreading, spreading_tensors
from cryosphere.imaging.kernel import kernel
from cryosphere.imaging.spreading import spread

BOX = 24


@pytest.fixture(params=["compiled", "tensors"])
def implementation(request, monkeypatch) -> str:
    """Both implementations in turn, behind the one function."""
    if request.param == "tensors":
        monkeypatch.setattr(spreading, "_compiled_for", lambda _: False)
    return request.param


def some_beads(kind: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """More beads than are handled at once, some of them too far out, in three images."""
    generator = torch.Generator().manual_seed(4)
    pixels = torch.rand(3, 150, 2, generator=generator, dtype=kind) * (BOX + 8) - 4
    return pixels, 1 + torch.rand(3, 150, generator=generator, dtype=kind)


@pytest.mark.usefixtures("implementation")
def test_a_bead_leaves_the_kernel_on_the_pixels_around_it() -> None:
    image = spread(torch.tensor([[[9.3, 14.75]]], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64), BOX)
    expected = np.zeros((BOX, BOX))
    expected[12:18, 7:13] = 2 * kernel(np.arange(12, 18) - 14.75)[:, None] * kernel(np.arange(7, 13) - 9.3)
    np.testing.assert_allclose(image[0].numpy(), expected, atol=3e-8)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("place", [1.99, 2.01, 20.99, 21.01, -1e30, 1e30])
def test_a_bead_whose_window_leaves_the_grid_is_left_out_and_gets_no_gradient(place: float) -> None:
    pixels = torch.tensor([[[9.0, place], [12.0, 12.0]]], requires_grad=True)
    image = spread(pixels, torch.ones(2), BOX)
    alone = spread(pixels[:, 1:], torch.ones(1), BOX)
    inside = place in (2.01, 20.99)
    assert bool(torch.equal(image, alone)) != inside
    image.square().sum().backward()
    assert bool((pixels.grad[0, 0] != 0).any()) == inside


@pytest.mark.usefixtures("implementation")
def test_a_position_that_is_no_number_shows_in_the_image() -> None:
    pixels = torch.tensor([[[9.0, 9.0]], [[9.0, float("nan")]]])
    assert spread(pixels, torch.ones(1), BOX).isnan().flatten(1).any(dim=1).tolist() == [False, True]


@pytest.mark.usefixtures("implementation")
def test_gradients_reach_positions_and_amplitudes_however_they_lie_in_memory() -> None:
    pixels, amplitudes = some_beads()
    expected = [x.clone().requires_grad_() for x in (pixels, amplitudes)]
    apart = [x.mT.contiguous().requires_grad_() for x in (pixels, amplitudes)]
    spread(*expected, BOX).square().sum().backward()
    spread(*(x.mT for x in apart), BOX).square().sum().backward()
    for one, other in zip(apart, expected, strict=True):
        assert other.grad is not None and other.grad.abs().max() > 0
        torch.testing.assert_close(one.grad.mT, other.grad)


@pytest.mark.usefixtures("implementation")
def test_gradients_are_those_of_finite_differences() -> None:
    pixels = torch.tensor([[[5.3, 6.8], [9.61, 3.2]]], dtype=torch.float64, requires_grad=True)
    amplitudes = torch.tensor([[2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, a: spread(p, a, 16), (pixels, amplitudes), eps=1e-7, atol=1e-4)


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float64, 4e-6), (torch.float32, 1e-5)])
def test_both_implementations_agree_in_values_and_gradients(kind: torch.dtype, tolerance: float) -> None:
    pixels, amplitudes = some_beads(kind)
    pixels.requires_grad_()
    amplitudes.requires_grad_()
    image = spread(pixels, amplitudes, BOX)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(5), dtype=kind)
    found = image, *torch.autograd.grad((image * weights).sum(), (pixels, amplitudes))
    with torch.no_grad():
        expected = (
            spreading_tensors.lay(pixels, amplitudes, BOX),
            *spreading_tensors.read(pixels, amplitudes, weights),
        )
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() < tolerance * other.abs().max()


def test_the_images_are_shared_among_the_threads() -> None:
    pixels, amplitudes = some_beads()
    alone = spread(pixels, amplitudes, BOX)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(spread(pixels, amplitudes, BOX), alone)
        assert spread(pixels[:0], amplitudes[:0], BOX).shape == (0, BOX, BOX)
    finally:
        torch.set_num_threads(before)


def test_it_is_compiled_anew_where_nothing_can_be_kept_on_disk(tmp_path: Path) -> None:
    program = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"  # no folder that can be written
        "import torch\n"
        "from cryosphere.imaging.spreading import spread\n"
        "print(round(float(spread(torch.full((1, 1, 2), 8.0), torch.ones(1), 16).max()), 6))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1.0"
