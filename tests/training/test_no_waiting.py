"""Off the processor a step never asks for a value: on the meta device, where there are none, it goes through.

Asking for one (a tensor's truth, a number of non-zeros, `.item()`) is what makes a host wait for its GPU. The clash
restraint is the one exception: how many pairs are near decides the size of its arrays.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from cryosphere.distribution import ALONE
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.grid import ImageGrid
from cryosphere.model.batch import Batch
from cryosphere.model.lifting import LiftingGrid
from cryosphere.model.vae import HeterogeneityModel, Weights
from cryosphere.structures.beads import Beads
from cryosphere.training.averaging import AveragedWeights
from cryosphere.training.build import build_model
from cryosphere.training.configure import configure
from cryosphere.training.metrics import EpochAverages
from cryosphere.training.step import Stepper

NOWHERE = torch.device("meta")
COUNT, RESIDUES, BOX = 6, 90, 48
NOT_ALL = (Weights(continuity=0.1, elastic=0.1), replace(Weights(), resolution=12.0))  # no clashes, see above


class FabricOfNowhere:
    """What a Stepper asks of Fabric, on the meta device: there the optimiser's fused and joint forms do not run."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")  # of the generator: the meta device has none of its own, and takes the host's

    def setup(self, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        for group in optimizer.param_groups:
            group.update(fused=False, foreach=False)
        return model, optimizer

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_gradients(
        self, model: nn.Module, optimizer: Optimizer, *, max_norm: float, error_if_nonfinite: bool
    ) -> Tensor:
        return nn.utils.clip_grad_norm_(
            model.parameters(), max_norm, error_if_nonfinite=error_if_nonfinite, foreach=False
        )

    def no_backward_sync(self, model: nn.Module, *, enabled: bool) -> AbstractContextManager[None]:
        return nullcontext()


def stepper_of_nowhere(model: HeterogeneityModel, config) -> Stepper:
    fabric = FabricOfNowhere()
    stepper = Stepper(model, config, fabric, ALONE)
    fabric.device = NOWHERE
    return stepper


def some_beads() -> Beads:
    positions = np.random.default_rng(0).normal(scale=12, size=(RESIDUES, 3))
    text, pairs = np.full(RESIDUES, "A"), np.stack([np.arange(RESIDUES - 1), np.arange(1, RESIDUES)], axis=1)
    numbers = np.arange(1, RESIDUES + 1)
    kinds = np.full(RESIDUES, "protein")
    return Beads(positions, np.full(RESIDUES, 60.0), text, numbers, np.full(RESIDUES, ""), text, kinds, pairs)


def some_particles(model: HeterogeneityModel, beads: Beads, device: torch.device) -> Batch:
    """Images of noise as the model compares them."""
    box = model.projector.grid.box
    points = len(LiftingGrid.around(beads.positions, LiftingGrid.per_axis(beads.positions)).points)
    ctf = CtfParameters(*(torch.ones(COUNT, device=device) for _ in fields(CtfParameters)))
    spectra = torch.randn(COUNT, box, box // 2 + 1, dtype=torch.complex64, device=device)
    rotations, features = torch.eye(3, device=device).repeat(COUNT, 1, 1), torch.randn(COUNT, points, device=device)
    return Batch(torch.arange(COUNT, device=device), spectra, rotations, ctf, features)


@pytest.mark.parametrize("images_at_once", [COUNT, 4], ids=["at once", "in pieces"])
@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("encoder.kind=mlp",),
        ("encoder.kind=free",),
        ("loss.mask_radius=0.8", "loss.low_pass=9"),
        ("loss.kl=paper",),
        ("segmentation.temperature=2",),
        ("training.gradient_clip=null",),
    ],
    ids=lambda settings: " ".join(settings) or "defaults",
)
def test_a_step_needs_no_value_from_the_device(settings: tuple[str, ...], images_at_once: int) -> None:
    beads = some_beads()
    config = configure(particles="p.star", model="m.cif", segments=4, overrides=list(settings))
    model = build_model(config, beads, ImageGrid(BOX, 2.0), 100, NOWHERE).train()
    stepper, batch = stepper_of_nowhere(model, config), some_particles(model, beads, NOWHERE)
    stepper.images_at_once = images_at_once
    averages, averaged = EpochAverages(COUNT, NOWHERE), AveragedWeights(model, 0.99)
    for step, weights in enumerate(NOT_ALL):
        losses, norm = stepper.take(batch, weights, step)
        averaged.update(model)
        averages.add(losses, norm, step, batch.share)
    assert losses.total.device == norm.device == NOWHERE
    assert stepper.images_at_once == images_at_once


def test_a_step_that_does_ask_for_a_value_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure(particles="p.star", model="m.cif", segments=4)
    beads = some_beads()
    model = build_model(config, beads, ImageGrid(BOX, 2.0), 100, NOWHERE).train()
    monkeypatch.setattr(model, "observe", lambda correlation: correlation.item())
    with pytest.raises(RuntimeError, match="meta"):
        stepper_of_nowhere(model, config).take(some_particles(model, beads, NOWHERE), Weights(), 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU that a step could wait for")
def test_a_step_on_a_gpu_does_not_wait_for_it() -> None:
    """PyTorch raises an error where the host waits; the first step may, as it finds plans and memory."""
    device = torch.device("cuda")
    config, beads = configure(particles="p.star", model="m.cif", segments=4), some_beads()
    model = build_model(config, beads, ImageGrid(BOX, 2.0), 100, device).train()
    fabric = Fabric(accelerator="cuda", devices=1, precision="32-true")
    fabric.launch()
    stepper, batch = Stepper(model, config, fabric, ALONE), some_particles(model, beads, device)
    stepper.take(batch, Weights(), 0)
    torch.cuda.synchronize(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        taken = [stepper.take(batch, Weights(), number) for number in (1, 2)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(bool(norm.isfinite()) for _, norm in taken)


def test_the_meta_device_does_object_where_a_value_is_asked_for() -> None:
    with pytest.raises((NotImplementedError, RuntimeError)):
        bool(torch.zeros(3, device=NOWHERE).any())
    with pytest.raises((NotImplementedError, RuntimeError)):
        torch.zeros(3, device=NOWHERE).nonzero()
