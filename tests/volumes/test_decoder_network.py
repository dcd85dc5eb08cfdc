"""The volume decoder's network: what it learns, and what of that the other half's images leave it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.volumes.hinge import SMALL

from cryosphere.volumes.decoder_maps import departures
from cryosphere.volumes.decoder_network import FourierNetwork
from cryosphere.volumes.decoder_sums import Band
from cryosphere.volumes.decoder_training import Evidence, Training, train
from cryosphere.volumes.decoder_validation import Held, keep_what_is_foretold


def test_training_finds_coefficients_that_are_a_product_of_latent_and_frequency():
    """Least squares of a case whose answer is known: u(k, z) = z · cos(2π k·r), all weights 1."""
    generator = torch.Generator().manual_seed(0)
    frequencies = 0.05 * torch.randn(1500, 3, generator=generator)
    z = torch.linspace(-1, 1, 8)[:, None]
    wave = torch.cos(2 * torch.pi * frequencies @ torch.tensor([12.0, -9.0, 5.0]))
    true = torch.stack([wave[:, None] * z.T, torch.zeros(1500, 8)], dim=1)
    evidence = Evidence(frequencies, true, torch.ones(1500, 8))
    network = FourierNetwork(torch.tensor([[0.0], [0.6]]), 30.0, SMALL, 0)
    told = []
    train(network, evidence, z, Training(200, 1e-2, 0), told.append)
    assert told == [1] * 200
    with torch.no_grad():
        assert float((network(frequencies, z) - true).square().mean() / true.square().mean()) < 0.02


@pytest.fixture(scope="module")
def heard():
    """A wave that both halves show in 8 states, and noise of each half's own, three times as strong."""
    generator = torch.Generator().manual_seed(0)
    frequencies = 0.05 * torch.randn(1200, 3, generator=generator)
    z = torch.linspace(-1, 1, 8)[:, None]
    wave = torch.cos(2 * torch.pi * frequencies @ torch.tensor([12.0, -9.0, 5.0]))
    true = torch.stack([wave[:, None] * z.T, torch.zeros(1200, 8)], dim=1)
    noisy = [true + 3 * true.std() * torch.randn(true.shape, generator=generator) for _ in range(2)]
    ones = torch.ones(1200, 8)
    return true, [Held(Evidence(frequencies, some, ones), z, torch.full((8,), 10.0)) for some in noisy]


def learned(heard, epochs=300):
    """A network that has learned of the first half alone."""
    network = FourierNetwork(torch.tensor([[0.0], [0.6]]), 30.0, SMALL, 0)
    own = heard[1][0]
    train(network, own.evidence, own.z, Training(epochs, 1e-2, 0), lambda _: None)
    return network


def error_of(network, heard):
    """What is wrong with what a network says, against what is true, as a share of it."""
    true, (own, _) = heard
    with torch.no_grad():
        return float((network(own.evidence.frequencies, own.z) - true).square().sum() / true.square().sum())


def test_what_the_other_half_does_not_show_is_taken_from_what_was_learned(heard):
    """Trained long on strong noise, a network is far from the truth: one component of four is of the density."""
    network = learned(heard)
    before = error_of(network, heard)
    shares = keep_what_is_foretold(network, heard[1][1])
    assert error_of(network, heard) < 0.7 * before
    assert ((shares >= 0) & (shares <= 1)).all()
    assert shares.sum() < 2.5


def test_what_both_halves_show_is_kept(heard):
    """Nearly without noise: each half's images are the truth, and the network has learned it."""
    true, (own, _) = heard
    same = replace(own, evidence=replace(own.evidence, products=true))
    network = learned((true, [same, same]))
    before = error_of(network, heard)
    keep_what_is_foretold(network, same)
    assert before < 0.05
    assert error_of(network, heard) < before + 0.01


def test_where_the_other_half_shows_the_opposite_the_consensus_is_left(heard):
    true, (own, _) = heard
    network = learned((true, [replace(own, evidence=replace(own.evidence, products=true))]))
    shares = keep_what_is_foretold(network, replace(own, evidence=replace(own.evidence, products=-true)))
    assert shares.max() < 0.1
    assert error_of(network, heard) == pytest.approx(1.0, abs=0.05)


def test_a_latent_direction_that_the_run_left_unused_does_not_sort_images():
    """Its spread is a hundredth of the other's: scaled alike, it stays small."""
    network = FourierNetwork(torch.tensor([[0.0, 0.0], [0.6, 0.01]]), 30.0, SMALL, 0)
    here, unused, used = network.weights(torch.tensor([[0.0, 0.0], [0.0, 0.01], [0.6, 0.0]]))
    assert (unused - here).norm() < 0.1 * (used - here).norm()


def test_volumes_start_from_the_same_networks_for_the_same_seed_only():
    latents = torch.tensor([[0.0], [1.0]])
    one, same, other = (FourierNetwork(latents, 30.0, SMALL, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.points, other.points)
    assert one.points.norm(dim=-1).max() <= 30.0
    assert not departures(one, torch.zeros(1, 1), torch.ones(5), Band.up_to(4, 16, 64.0), 16).any()
