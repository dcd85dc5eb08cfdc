"""Comparing in pieces on several threads changes neither values nor gradients."""

from __future__ import annotations

import pytest
import torch

from cryosphere.model.comparing import in_pieces, traced


@pytest.mark.parametrize("images", [1, 2, 7, 64])
def test_pieces_give_what_the_whole_gives(images: int) -> None:
    positions = torch.randn(images, 3000, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(images, dtype=torch.float64)

    def compare(structures: torch.Tensor, piece: slice = slice(None)) -> torch.Tensor:
        return (structures.sin() * weights[piece, None, None]).sum((1, 2))

    def of_piece(structures: torch.Tensor, piece: slice, *, with_gradient: bool):
        return traced(lambda x: compare(x, piece), structures, with_gradient=with_gradient)

    threads = torch.get_num_threads()
    whole, pieced = compare(positions), in_pieces(of_piece, positions)
    slopes = [torch.autograd.grad((values * torch.arange(images)).sum(), positions)[0] for values in (whole, pieced)]
    assert torch.allclose(whole, pieced, rtol=1e-12)
    assert torch.allclose(*slopes, rtol=1e-12)
    assert torch.get_num_threads() == threads


def test_without_gradients_none_are_taken() -> None:
    with torch.no_grad():
        values = in_pieces(lambda x, _, **asked: traced(lambda y: y.sum((1, 2)), x, **asked), torch.ones(5, 4, 3))
    assert values.tolist() == [12.0] * 5
    assert not values.requires_grad


def test_an_error_in_a_piece_comes_out() -> None:
    def compare(structures: torch.Tensor, piece: slice, *, with_gradient: bool):
        raise ValueError("no such image")

    with pytest.raises(ValueError, match="no such image"):
        in_pieces(compare, torch.ones(5, 4, 3))
