"""Learned occupancies: where they are set, what they cost, and that their gradients are right on the fast path."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.model.test_correlation import never, some_particles
from tests.model.test_vae import OBJECTIVE, as_double, make

from cryosphere.fourier import parseval_weights, up_to
from cryosphere.imaging.ctf import contrast_transfer
from cryosphere.imaging.formation import seen_from
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import ReferenceProjector, SpreadProjector
from cryosphere.model.batch import Share
from cryosphere.model.comparing import traced
from cryosphere.model.correlation import CompiledCorrelation
from cryosphere.model.losses import spectral_correlation
from cryosphere.model.occupancy import PRESENT, AlongChain, Occupancy, OfSegments, Prior
from cryosphere.model.vae import Weights

TWO_CHAINS = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 4], [5, 6], [6, 7]])  # and bead 8, bonded to nothing
NOTHING_SHARED = torch.zeros(9, 0)


def learned(places, hidden=None, *, absence: float = 1.0, step: float = 1.0, bonded=TWO_CHAINS) -> Occupancy:
    torch.manual_seed(0)
    return Occupancy(places, 2, hidden, prior=Prior(bonded, absence=absence, step=step))


def test_before_training_every_residue_is_whole() -> None:
    for places in (AlongChain(9, TWO_CHAINS, 2), AlongChain(9, TWO_CHAINS, 1), OfSegments(0)):
        found = learned(places)(torch.zeros(3, 2), NOTHING_SHARED)
        torch.testing.assert_close(found, torch.ones(1, 9))


def test_places_lie_at_the_ends_of_bonded_stretches_and_between_them() -> None:
    places = AlongChain(9, TWO_CHAINS, 2)  # 0 . 2 . 4 | 5 . 7 | 8
    assert places.count == 6
    logits = torch.arange(6.0)[None]
    shown, (values, residues) = places(logits, NOTHING_SHARED)
    torch.testing.assert_close(torch.logit(shown)[0], torch.tensor([0, 0.5, 1, 1.5, 2, 3, 3.5, 4, 5]))
    torch.testing.assert_close(values, torch.sigmoid(logits))
    torch.testing.assert_close(residues, torch.tensor([1.5, 2.0, 1.5, 1.5, 1.5, 1.0]))
    assert AlongChain(9, TWO_CHAINS, 1).count == 9


def test_a_window_that_does_not_divide_a_stretch_is_made_shorter() -> None:
    bonded = torch.stack([torch.arange(9), torch.arange(1, 10)], dim=1)
    places = AlongChain(10, bonded, 4)  # 9 bonds in 3 intervals
    shown, _ = places(torch.arange(4.0)[None], torch.zeros(10, 0))
    torch.testing.assert_close(torch.logit(shown)[0], torch.arange(10) / 3, rtol=1e-5, atol=1e-5)


def test_occupancies_are_told_relative_to_the_upper_quartile() -> None:
    """Absent and half-present residues keep their ratio to whole ones, however bright the whole structure is."""
    occupancy = learned(AlongChain(9, TWO_CHAINS, 1))
    shown = torch.tensor([0.8, 0.8, 0.8, 0.4, 0.08, 0.8, 0.8, 0.8, 0.8])
    for brightness in (1.0, 0.5):
        occupancy.logits.data = torch.logit(brightness * shown)
        found = occupancy(torch.zeros(1, 2), NOTHING_SHARED)[0]
        torch.testing.assert_close(found, torch.tensor([1.0, 1, 1, 0.5, 0.1, 1, 1, 1, 1]))


def test_a_single_residue_cannot_become_much_more_than_whole() -> None:
    occupancy = learned(AlongChain(9, TWO_CHAINS, 1))
    occupancy.logits.data[0] = 50.0
    most = occupancy(torch.zeros(1, 2), NOTHING_SHARED).max().item()
    assert most == pytest.approx(1 + math.exp(-PRESENT))


def test_residues_of_a_segment_share_its_occupancy_and_those_of_none_have_their_own() -> None:
    membership = torch.tensor([[1.0, 0], [1, 0], [0.5, 0.5], [0, 1], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]])
    occupancy = learned(OfSegments(2))
    occupancy.logits.data = torch.tensor([PRESENT, -30.0, PRESENT])
    found = occupancy(torch.zeros(1, 2), membership)[0]
    torch.testing.assert_close(found, torch.tensor([1, 1, 0.5, 0, 1, 1, 1, 1, 1.0]), atol=1e-6, rtol=0)


def test_the_prior_counts_missing_residues_and_the_ends_of_missing_stretches() -> None:
    occupancy = torch.tensor([[1.0, 1, 0, 0, 1, 0, 0, 0, 1], [1.0, 1, 1, 1, 1, 1, 1, 1, 0.5]])
    absent, ends = (5 + 0.5) / 2, 2 / 2  # chains are bonded neither to each other nor to bead 8
    assert Prior(TWO_CHAINS, absence=1.0, step=0.0)(occupancy).item() == pytest.approx(absent)
    assert Prior(TWO_CHAINS, absence=2.0, step=3.0)(occupancy).item() == pytest.approx(2 * absent + 3 * ends)


def test_with_a_network_occupancies_follow_the_latent() -> None:
    found = learned(AlongChain(9, TWO_CHAINS, 1), (8,))(torch.randn(4, 2), NOTHING_SHARED)
    assert found.shape == (4, 9)
    assert found.std(0).min() > 0


@pytest.mark.parametrize("spread", [0.08, 0.16], ids=["inside", "some at the border"])
def test_the_compiled_gradient_by_amplitudes_is_that_of_finite_differences(spread: float) -> None:
    grid = ImageGrid(48, 2.0)
    positions, amplitudes, batch = some_particles(grid, torch.float64, spread=spread)
    projector = SpreadProjector(grid, 2.0, dtype=torch.float64)
    weights = (parseval_weights(48) * up_to(48, 2.0, 4.1)).double()

    def by_tensors(structures, some, *, with_gradient):
        def correlations(x: torch.Tensor) -> torch.Tensor:
            spectra = projector(seen_from(x[..., :3], some.rotations), x[..., 3])
            return spectral_correlation(spectra * contrast_transfer(some.ctf, grid), some.spectra, weights)

        return traced(correlations, structures, with_gradient=with_gradient)

    compiled = CompiledCorrelation(projector, amplitudes, weights, never if spread < 0.1 else by_tensors)
    own = amplitudes * torch.linspace(0.2, 1.4, len(positions), dtype=torch.float64)[:, None]
    structures = torch.cat([positions, own[..., None]], dim=2)
    _, gradient = compiled(structures, batch, with_gradient=True)
    direction = torch.randn(own.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-5 * torch.nn.functional.pad(direction[..., None], (3, 0))
    above, below = (compiled(structures + sign * step, batch, with_gradient=False)[0] for sign in (1, -1))
    torch.testing.assert_close((above - below) / 2e-5, (gradient[..., 3] * direction).sum(1), rtol=1e-6, atol=1e-10)
    expected, slopes = by_tensors(structures, batch, with_gradient=True)
    torch.testing.assert_close(compiled(structures, batch, with_gradient=False)[0], expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(gradient, slopes, rtol=1e-4, atol=1e-5 * float(slopes.abs().max()))


def test_the_gradient_by_amplitudes_is_that_of_the_literal_sum_and_does_not_see_brightness() -> None:
    """Correlation keeps its value when all amplitudes grow, so the gradient along the amplitudes themselves is 0."""
    grid = ImageGrid(48, 2.0)
    positions, amplitudes, batch = some_particles(grid, torch.float64, spread=0.08)
    weights = (parseval_weights(48) * up_to(48, 2.0, 4.1)).double()
    compiled = CompiledCorrelation(SpreadProjector(grid, 2.0, dtype=torch.float64), amplitudes, weights, never)
    structures = torch.cat([positions, amplitudes.expand(len(positions), -1)[..., None]], dim=2)
    _, gradient = compiled(structures, batch, with_gradient=True)
    literal = ReferenceProjector(grid, 2.0)

    def correlations(x: torch.Tensor) -> torch.Tensor:
        spectra = literal(seen_from(positions, batch.rotations), x) * contrast_transfer(batch.ctf, grid)
        return spectral_correlation(spectra, batch.spectra, weights)

    _, slopes = traced(correlations, structures[..., 3], with_gradient=True)
    assert float((gradient[..., 3] - slopes).norm() / slopes.norm()) < 1e-3
    along = (gradient[..., 3] * amplitudes).sum(1).abs()
    assert float((along / (gradient[..., 3] * amplitudes).abs().sum(1)).max()) < 1e-4


def with_occupancy(base, batch, projector, hidden=None, **prior: float):
    model = make(base, batch, projector)
    model.decoder.occupancy = learned(AlongChain(40, base.bonded, 4), hidden, bonded=base.bonded, **prior)
    return model


@pytest.mark.parametrize("hidden", [None, (8,)], ids=["global", "latent"])
def test_the_models_gradient_by_occupancies_is_that_of_finite_differences(hidden, base, batch, projector) -> None:
    precise = SpreadProjector(projector.grid, projector.sigma, dtype=torch.float64)
    model = with_occupancy(base, batch, precise, hidden).double()
    batch = as_double(batch)
    batch = replace(batch, spectra=batch.spectra + 100 * torch.randn_like(batch.spectra))
    model.decoder.occupancy.logits.data += torch.randn(11, generator=torch.Generator().manual_seed(2)).double()

    def total() -> torch.Tensor:
        return model(batch, Weights(), torch.Generator().manual_seed(7)).total

    total().backward()
    for parameter in model.decoder.occupancy.parameters():
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        slope, ends = (parameter.grad * direction).sum().item(), []
        with torch.no_grad():
            for shift in (1e-6, -2e-6):
                parameter.add_(shift * direction)
                ends.append(total().item())
            parameter.add_(1e-6 * direction)
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-4)


def test_whole_residues_cost_nothing_and_change_nothing(base, batch, projector) -> None:
    plain, weighted = make(base, batch, projector), with_occupancy(base, batch, projector)
    plain.load_state_dict({k: v for k, v in weighted.state_dict().items() if "occupancy" not in k})
    losses = [model(batch, Weights(), torch.Generator().manual_seed(0)) for model in (plain, weighted)]
    assert losses[1].occupancy.item() == 0
    assert losses[0].total.item() == pytest.approx(losses[1].total.item(), rel=1e-5)


def test_the_prior_is_charged_once_for_the_data_set_in_calibrated_nats(base, batch, projector) -> None:
    free, charged = (with_occupancy(base, batch, projector, absence=a, step=0.0) for a in (0.0, 1.0))
    for model in (free, charged):
        model.decoder.occupancy.logits.data[:2] = -30.0
    losses = [model(batch, Weights(), torch.Generator().manual_seed(0)) for model in (free, charged)]
    missing = float((1 - charged.occupancies(torch.zeros(1, 2), torch.zeros(40, 3)).detach()).abs().sum())
    assert losses[1].occupancy.item() == pytest.approx(missing, rel=1e-4)
    extra = losses[1].total.item() - losses[0].total.item()
    assert extra == pytest.approx(missing * float(charged.kl_weight()) / OBJECTIVE.particles, rel=1e-3)


@pytest.mark.parametrize("hidden", [None, (8,)], ids=["global", "latent"])
def test_shares_of_a_step_make_the_gradient_of_the_whole(hidden, base, batch, projector) -> None:
    model = with_occupancy(base, batch, projector, hidden, absence=30.0)
    model.decoder.occupancy.logits.data[:3] = -1.0
    parameters = list(model.decoder.occupancy.parameters())
    wanted = torch.autograd.grad(model(batch, Weights(), torch.Generator().manual_seed(3)).total, parameters)
    totals = []
    for first, count in ((0, 4), (4, 2)):
        held = replace(batch[first : first + count], held=Share(first, count, 6, 2))
        totals.append(model(held, Weights(), torch.Generator().manual_seed(3)).total)
    found = torch.autograd.grad(torch.stack(totals).mean(), parameters)
    for mine, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_residues_that_images_lack_lose_their_occupancy(base, batch, projector) -> None:
    """Physics, end to end: images of the same structure without its last eight residues, and steps downhill."""
    model = with_occupancy(base, batch, projector)
    model.decoder.network[-1].weight.data.zero_()
    there = torch.ones(1, 40)
    there[:, 32:] = 0
    with torch.no_grad():
        shown = replace(batch, spectra=model.generative(base.positions, batch, there))
    optimizer = torch.optim.Adam(model.decoder.occupancy.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        model(shown, Weights(), draw=False).total.backward()
        optimizer.step()
    found = model.occupancies(torch.zeros(1, 2), model.segmentation(draw=False))[0].detach()
    assert found[35:].max() < 0.3
    assert found[:29].min() > 0.8  # at 6 Å, residues within two places of the end are not told apart
