"""Off the processor a step never asks for a value: on the meta device, where there are none, it goes through.

Asking for one (a tensor's truth, a number of non-zeros, `.item()`) is what makes a host wait for its GPU. The clash
restraint is the one exception: how many pairs are near decides the size of its arrays.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.grid import ImageGrid
from cryosphere.model.batch import Batch
from cryosphere.model.lifting import LiftingGrid
from cryosphere.model.vae import Weights
from cryosphere.structures.beads import Beads
from cryosphere.training.averaging import AveragedWeights
from cryosphere.training.build import build_model
from cryosphere.training.configure import configure
from cryosphere.training.metrics import EpochAverages

NOWHERE = torch.device("meta")
COUNT, RESIDUES, BOX = 6, 90, 48


def beads() -> Beads:
    positions = np.random.default_rng(0).normal(scale=12, size=(RESIDUES, 3))
    text, pairs = np.full(RESIDUES, "A"), np.stack([np.arange(RESIDUES - 1), np.arange(1, RESIDUES)], axis=1)
    numbers = np.arange(1, RESIDUES + 1)
    kinds = np.full(RESIDUES, "protein")
    return Beads(positions, np.full(RESIDUES, 60.0), text, numbers, np.full(RESIDUES, ""), text, kinds, pairs)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("encoder.kind=mlp",),
        ("encoder.kind=free",),
        ("loss.mask_radius=0.8", "loss.low_pass=9"),
        ("loss.kl=paper",),
        ("segmentation.temperature=2",),
    ],
    ids=lambda settings: " ".join(settings) or "defaults",
)
def test_a_step_needs_no_value_from_the_device(settings: tuple[str, ...]) -> None:
    structure = beads()
    config = configure(particles="p.star", model="m.cif", segments=4, overrides=list(settings))
    model = build_model(config, structure, ImageGrid(BOX, 2.0), 100, NOWHERE).train()
    box = model.projector.grid.box
    points = len(LiftingGrid.around(structure.positions, LiftingGrid.per_axis(structure.positions)).points)
    ctf = CtfParameters(*(torch.ones(COUNT, device=NOWHERE) for _ in fields(CtfParameters)))
    spectra = torch.zeros(COUNT, box, box // 2 + 1, dtype=torch.complex64, device=NOWHERE)
    rotations, features = torch.zeros(COUNT, 3, 3, device=NOWHERE), torch.zeros(COUNT, points, device=NOWHERE)
    batch = Batch(torch.zeros(COUNT, dtype=torch.int64, device=NOWHERE), spectra, rotations, ctf, features)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    averages, averaged = EpochAverages(COUNT, NOWHERE), AveragedWeights(model, 0.99)
    for step, weights in enumerate((Weights(continuity=0.1, elastic=0.1), replace(Weights(), resolution=12.0))):
        losses = model(batch, weights)
        losses.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=False)
        optimizer.step()
        averaged.update(model)
        model.observe(losses.correlation.detach())
        averages.add(losses, norm, step, batch.share)
    assert losses.total.device == NOWHERE


def test_the_meta_device_does_object_where_a_value_is_asked_for() -> None:
    with pytest.raises((NotImplementedError, RuntimeError)):
        bool(torch.zeros(3, device=NOWHERE).any())
    with pytest.raises((NotImplementedError, RuntimeError)):
        torch.zeros(3, device=NOWHERE).nonzero()
