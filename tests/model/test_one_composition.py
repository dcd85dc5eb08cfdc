"""Motions are judged with as much of each residue as the model has learned that there is."""

from __future__ import annotations

import torch
from tests.model.test_vae import make

from cryosphere.model.occupancy import AlongChain, Occupancy, Prior
from cryosphere.validation.reading import of_one_composition


def test_a_model_without_occupancies_is_taken_as_it_is(base, batch, projector) -> None:
    model = make(base, batch, projector)
    assert of_one_composition(model) is model


def test_residues_that_are_absent_for_the_model_are_absent_in_what_is_compared(base, batch, projector) -> None:
    model = make(base, batch, projector)
    beads = len(model.positions)
    bonded = torch.stack([torch.arange(beads - 1), torch.arange(1, beads)], dim=1)
    occupancy = Occupancy(AlongChain(beads, bonded, 1), model.decoder.latent_dim, None, prior=Prior(bonded))
    with torch.no_grad():
        occupancy.logits[: beads // 3] = -12.0
    model.decoder.occupancy = occupancy
    fixed = of_one_composition(model)
    torch.testing.assert_close(fixed.amplitudes[: beads // 3], torch.zeros(beads // 3), atol=1e-2, rtol=0)
    torch.testing.assert_close(fixed.amplitudes[beads // 2 :], model.amplitudes[beads // 2 :], atol=1e-3, rtol=1e-3)
    assert not torch.equal(model.amplitudes, fixed.amplitudes)
