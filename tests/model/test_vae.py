"""The auto-encoder as a whole: gradients, weights, and that each option changes something."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model.batch import Batch, Share
from cryosphere.model.decoder import Decoder
from cryosphere.model.encoders import LiftedEncoder
from cryosphere.model.segmentation import Part, Segmentation
from cryosphere.model.vae import BaseStructure, HeterogeneityModel, Objective, Weights

OBJECTIVE = Objective("calibrated", None, None, 4.0, 1.0, 100)


def make(base: BaseStructure, batch: Batch, projector: SpreadProjector, objective: Objective = OBJECTIVE, **decoder):
    torch.manual_seed(0)
    return HeterogeneityModel(
        base,
        LiftedEncoder(batch.features.shape[1], (16,), 2),
        Decoder(2, 3, (16,), **decoder),
        Segmentation(torch.arange(40), [Part(0, 39, 3)]),
        projector,
        objective,
    )


def as_double(batch: Batch) -> Batch:
    return Batch(
        batch.rows,
        batch.spectra.to(torch.complex128),
        batch.rotations.double(),
        CtfParameters(*(getattr(batch.ctf, f.name).double() for f in fields(batch.ctf))),
        batch.features.double(),
    )


def test_the_untrained_model_predicts_nearly_the_base_structure(base, batch, projector) -> None:
    model = make(base, batch, projector).eval()
    losses = model(batch, Weights(), draw=False)
    assert losses.correlation.item() > 0.95  # the images show the base structure


def test_gradients_reach_every_parameter_and_are_those_of_finite_differences(base, batch, projector) -> None:
    precise = SpreadProjector(projector.grid, projector.sigma, dtype=torch.float64)
    model = make(base, batch, precise).double()
    batch = as_double(batch)
    weights = Weights(kl_latent=1.0, kl_segments=1.0, continuity=0.1, elastic=0.1, clash=0.1)

    def total() -> torch.Tensor:
        return model(batch, weights, torch.Generator().manual_seed(7)).total

    total().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    with torch.no_grad():
        bias = model.decoder.network[-1].bias
        direction = torch.randn(bias.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        slope = (bias.grad * direction).sum().item()
        step = 1e-5
        bias.add_(step * direction)
        above = total().item()
        bias.sub_(2 * step * direction)
        below = total().item()
    assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-4)


def test_calibrated_and_paper_weights_differ_as_designed(base, batch, projector) -> None:
    calibrated = make(base, batch, projector)
    calibrated.running_correlation.fill_(0.1)
    assert float(calibrated.kl_weight()) == pytest.approx((1 - 0.01) / (0.1 * 24**2), rel=1e-4)
    paper = make(base, batch, projector, replace(OBJECTIVE, kl="paper"))
    assert paper.kl_weight() == pytest.approx(1 / 24**2)


@pytest.mark.parametrize(
    "changed",
    [
        {"low_pass": 20.0},
        {"mask_radius": 0.5},
        {"kl": "paper"},
        {"image_fraction": 0.5},
        {"particles": 7},
    ],
)
def test_every_option_of_the_objective_changes_the_loss(changed, base, batch, projector) -> None:
    noisy = replace(batch, spectra=batch.spectra + 30 * torch.randn_like(batch.spectra))
    totals = [
        make(base, noisy, projector, objective)(noisy, Weights(), torch.Generator().manual_seed(0)).total.item()
        for objective in (OBJECTIVE, replace(OBJECTIVE, **changed))
    ]
    assert totals[0] != totals[1]


@pytest.mark.parametrize("name", ["kl_latent", "kl_segments", "continuity", "elastic", "clash"])
def test_every_weight_changes_the_loss(name, base, batch, projector) -> None:
    objective = replace(OBJECTIVE, clash_distance=6.0)
    totals = [
        make(base, batch, projector, objective)(
            batch, replace(Weights(), **{name: value}), torch.Generator().manual_seed(0)
        ).total.item()
        for value in (0.0, 3.0)
    ]
    assert totals[0] != totals[1]


def test_the_pivot_changes_what_the_same_decoder_output_means(base, batch, projector) -> None:
    membership = make(base, batch, projector).segmentation(draw=False)
    z = torch.ones(1, 2)
    with torch.no_grad():
        moved = [make(base, batch, projector, pivot=pivot).structures(z, membership)[0] for pivot in ("segment", "box")]
    assert not torch.allclose(moved[0], moved[1])


def test_the_running_correlation_moves_only_towards_what_it_is_told(base, batch, projector) -> None:
    model = make(base, batch, projector)
    model.running_correlation.fill_(0.1)
    model.train()(batch, Weights(), torch.Generator().manual_seed(0))
    assert model.running_correlation.item() == pytest.approx(0.1)  # processes that share a step see other images each
    model.observe(torch.tensor(0.6))
    assert model.running_correlation.item() == pytest.approx(0.11)  # a fiftieth of the way


@pytest.mark.parametrize("sizes", [(4, 2), (5, 1), (6, 0)])
def test_shares_of_a_step_make_the_loss_and_the_gradient_of_the_whole(sizes, base, batch, projector) -> None:
    weights = Weights(kl_latent=1.0, kl_segments=50.0, continuity=0.1, elastic=0.1, clash=0.1)
    model = make(base, batch, projector, replace(OBJECTIVE, clash_distance=6.0))
    whole = model(batch, weights, torch.Generator().manual_seed(3)).total
    wanted = torch.autograd.grad(whole, list(model.parameters()))
    first, totals = 0, []
    for count in sizes:
        held = batch[first : first + count] if count else batch[:1]  # a stand-in, which must count nothing
        share = Share(first if count else 0, count, sum(sizes), len(sizes))
        losses = model(replace(held, held=share), weights, torch.Generator().manual_seed(3))
        assert len(losses.correlations) == count
        totals.append(losses.total)
        first += count
    mean = torch.stack(totals).mean()
    assert mean.item() == pytest.approx(whole.item(), rel=1e-5)
    for found, expected in zip(torch.autograd.grad(mean, list(model.parameters())), wanted, strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()) + 1e-9)
