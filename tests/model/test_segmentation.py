"""The Gaussian mixture over residue indices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from cryosphere.model.segmentation import Part, Segmentation


def test_membership_is_equation_6_with_the_width_in_front_of_the_density() -> None:
    means, widths = (10.0, 40.0, 70.0), (6.0, 14.0, 9.0)
    segmentation = Segmentation(torch.arange(100), [Part(0, 99, 3, means, widths)], temperature=2.0)
    with torch.no_grad():
        segmentation.logit.copy_(torch.tensor([0.3, -0.2, 0.1]))
    weights = np.exp([0.3, -0.2, 0.1]) / np.exp([0.3, -0.2, 0.1]).sum()
    index = np.arange(100)
    density = np.stack([norm.pdf(index, m, s) * w for m, s, w in zip(means, widths, weights, strict=True)], axis=1)
    expected = density**2.0 / (density**2.0).sum(1, keepdims=True)
    found = segmentation(draw=False).detach().numpy()
    assert np.allclose(found, expected, atol=1e-5)  # single precision


def test_segments_start_evenly_along_the_chain() -> None:
    strongest = Segmentation(torch.arange(90), [Part(0, 89, 3)])(draw=False).argmax(1)
    assert strongest.tolist() == [0] * 30 + [1] * 30 + [2] * 30


def test_a_high_temperature_exponent_gives_nearly_one_segment_per_residue() -> None:
    membership = Segmentation(torch.arange(300), [Part(0, 299, 5)], temperature=20.0)(draw=False)
    assert (membership.max(1).values > 0.95).float().mean() > 0.9
    assert torch.allclose(membership.sum(1), torch.ones(300), atol=1e-6)


def test_residues_outside_the_parts_belong_to_no_segment_and_parts_do_not_mix() -> None:
    membership = Segmentation(torch.arange(100), [Part(10, 39, 2), Part(60, 99, 3)])(draw=False)
    outside = torch.ones(100, dtype=torch.bool)
    outside[10:40] = outside[60:] = False
    assert membership[outside].abs().max() == 0
    assert membership[10:40, 2:].abs().max() == 0
    assert membership[60:, :2].abs().max() == 0
    assert torch.allclose(membership[~outside].sum(1), torch.ones(70), atol=1e-6)


def test_no_draw_gives_the_same_segmentation_twice_and_a_draw_another() -> None:
    segmentation = Segmentation(torch.arange(50), [Part(0, 49, 4)], temperature=2.0)
    assert torch.equal(segmentation(draw=False), segmentation(draw=False))
    generator = torch.Generator().manual_seed(3)
    assert not torch.equal(segmentation(generator, draw=True), segmentation(generator, draw=True))


def test_its_divergence_is_that_of_gaussians_and_grows_away_from_the_prior() -> None:
    segmentation = Segmentation(torch.arange(50), [Part(0, 49, 2)], prior_sd=0.7)
    with torch.no_grad():
        segmentation.log_sd.fill_(float(np.log(0.7)))
    assert segmentation.kl().item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        segmentation.mean.add_(0.7)
    assert segmentation.kl().item() == pytest.approx(2 * 0.5, rel=1e-5)  # half a squared sd for each of two means


def test_gradients_reach_every_parameter_also_with_an_empty_segment() -> None:
    segmentation = Segmentation(torch.arange(60), [Part(0, 59, 3, means=(10.0, 30.0, 1000.0))], temperature=2.0)
    weights = torch.arange(60.0)[:, None] * torch.tensor([1.0, -2.0, 3.0])
    (segmentation(torch.Generator().manual_seed(0), draw=True) * weights).sum().backward()
    for parameter in segmentation.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_a_ligand_belongs_where_the_residue_it_stands_by_belongs() -> None:
    along_chain = torch.cat([torch.arange(60), torch.tensor([5, 55])])  # two ligands at the end of the file
    membership = Segmentation(along_chain, [Part(0, 59, 3)])(draw=False)
    assert torch.equal(membership[60], membership[5])
    assert torch.equal(membership[61], membership[55])
