"""The tests run with the tensor functions' shapes checked (tests/conftest.py); the package itself does not check."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from jaxtyping import TypeCheckError

from cryosphere import fourier
from cryosphere.geometry.motions import rotate
from cryosphere.imaging.formation import seen_from
from cryosphere.model.losses import continuity
from cryosphere.particles.preprocess import normalise_background
from cryosphere.structures.neighbours import close_pairs

WRONG_CALLS = {
    "an oblong image": lambda: fourier.to_spectrum(torch.zeros(3, 8, 10)),
    "points with four coordinates": lambda: rotate(torch.zeros(5, 4), torch.zeros(5, 4)),
    "poses of another number of images": lambda: seen_from(torch.zeros(2, 5, 3), torch.zeros(4, 3, 3)),
    "a base structure of other residues": lambda: continuity(
        torch.zeros(2, 5, 3), torch.zeros(6, 3), torch.zeros(1, 2, dtype=torch.int64)
    ),
    "one image instead of many": lambda: normalise_background(torch.zeros(8, 8), 3.0),
    "one structure instead of many": lambda: close_pairs(torch.zeros(5, 3), 4.0),
    "whole numbers for grey values": lambda: fourier.to_spectrum(torch.zeros(3, 8, 8, dtype=torch.int64)),
}


@pytest.mark.parametrize("call", WRONG_CALLS.values(), ids=WRONG_CALLS.keys())
def test_a_wrong_shape_is_refused_in_every_room_with_tensor_functions(call):
    with pytest.raises(TypeCheckError):
        call()


def test_outside_the_tests_nothing_is_checked():
    call = "import torch; from cryosphere.fourier import to_spectrum; to_spectrum(torch.zeros(3, 8, 10))"
    subprocess.run([sys.executable, "-c", call], check=True, timeout=60)
