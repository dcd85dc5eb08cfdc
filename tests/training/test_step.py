"""A step is the same however many of its images fit in memory at once, and goes on with fewer when memory runs out."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from cryosphere.distribution import ALONE, World
from cryosphere.errors import ProcessLostError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.model.batch import Share
from cryosphere.model.vae import Weights
from cryosphere.particles.cache import CacheFolders
from cryosphere.training.accumulation import is_out_of_memory, pieces
from cryosphere.training.batch_size import measuring
from cryosphere.training.build import build_model
from cryosphere.training.data import ParticleLoader
from cryosphere.training.prepare import CacheWork, build_images, lifted_features, read_inputs
from cryosphere.training.step import Stepper

WEIGHTS = Weights(kl_latent=0.7, kl_segments=1.0, continuity=0.01)


@pytest.fixture
def scene(settings, tmp_path):
    """A model, the loader of its images, and its settings, as training makes them."""

    def make(*overrides: str):
        inputs = read_inputs(settings(*overrides))
        folders = CacheFolders((tmp_path / "cache",))
        images = build_images(inputs, folders)
        cpu = torch.device("cpu")
        lifted = lifted_features(images, inputs.atomic_model, inputs.config, cpu, CacheWork(folders))
        grid = ImageGrid(images.box, images.pixel_size)
        model = build_model(inputs.config, inputs.atomic_model.beads, grid, len(images), cpu)
        return model, ParticleLoader(images, lifted, cpu, grid=model.projector.grid), inputs.config

    return make


def stepper_of(model, config, world: World = ALONE) -> Stepper:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return Stepper(model, config, fabric, world)


def after_a_step(scene, *overrides: str, images: int = 16):
    model, loader, config = scene(*overrides)
    losses, norm = stepper_of(model, config).take(loader.batch(np.arange(images)), WEIGHTS, 5)
    return model, losses, norm


@pytest.mark.parametrize("at_once", [1, 5, 8, 15])
def test_a_step_in_pieces_is_the_step(scene, at_once: int) -> None:
    whole, expected, norm = after_a_step(scene)
    pieced, losses, pieced_norm = after_a_step(scene, f"training.images_at_once={at_once}")
    assert float(pieced_norm) == pytest.approx(float(norm), rel=1e-4)
    torch.testing.assert_close(losses.correlations, expected.correlations, rtol=1e-4, atol=1e-5)
    for name, value in expected.terms().items():
        assert losses.terms()[name].item() == pytest.approx(value.item(), rel=1e-4), name
    for (name, one), other in zip(whole.named_parameters(), pieced.parameters(), strict=True):
        # Adam's first step is a learning rate in the gradient's direction, whatever its size: compare the gradients
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6, msg=name)
    assert float(pieced.running_correlation) == pytest.approx(float(whole.running_correlation), rel=1e-5)


def test_pieces_hold_every_image_once(scene) -> None:
    _, loader, _ = scene()
    own = Share(3, 10, 24, 2)
    batch = replace(loader.batch(np.arange(20, 30)), held=own)
    cut = pieces(batch, 4)
    assert [piece.rows.tolist() for piece in cut] == [[20, 21, 22], [23, 24, 25], [26, 27, 28, 29]]
    assert [(piece.share.first, piece.share.count) for piece in cut] == [(3, 3), (6, 3), (9, 4)]
    assert sum(piece.share.weight for piece in cut) / len(cut) == pytest.approx(own.weight)
    assert pieces(batch, 10) == [batch]


def fail_above(model, most: int, error: Exception) -> list[int]:
    """Let the model fail for more images than that; the sizes that were tried."""
    tried: list[int] = []
    encoder = model.encoder.forward

    def encode(batch):
        tried.append(len(batch))
        if len(batch) > most:
            raise error
        return encoder(batch)

    model.encoder.forward = encode
    return tried


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate")],
    ids=["GPU", "Python", "host"],
)
def test_when_memory_runs_out_fewer_images_are_taken_at_once(scene, caplog, error: Exception) -> None:
    whole, expected, _ = after_a_step(scene)
    model, loader, config = scene()
    tried = fail_above(model, 4, error)
    stepper = stepper_of(model, config)
    losses, _ = stepper.take(loader.batch(np.arange(16)), WEIGHTS, 5)
    assert tried == [16, 8, 4, 4, 4, 4]
    assert stepper.images_at_once == 4
    assert losses.total.item() == pytest.approx(expected.total.item(), rel=1e-4)
    assert "4 at a time, with the same result" in caplog.text
    for one, other in zip(whole.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_where_not_even_one_image_fits_the_error_comes_out(scene) -> None:
    model, loader, config = scene()
    tried = fail_above(model, 0, torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(torch.OutOfMemoryError):
        stepper_of(model, config).take(loader.batch(np.arange(4)), WEIGHTS, 0)
    assert tried == [4, 2, 1]


def test_a_process_that_died_is_noticed_in_the_forward_pass_and_before_the_first_step(scene, monkeypatch) -> None:
    """Buffers and parameters are sent to the others there, as gradients are in the backward pass."""
    gone = RuntimeError("Connection closed by peer")
    model, loader, config = scene()
    fail_above(model, 0, gone)
    with pytest.raises(ProcessLostError):
        stepper_of(model, config, World(0, 2)).find_gradient(loader.batch(np.arange(4)), WEIGHTS, 0)

    def setup(*_: object) -> None:
        raise gone

    monkeypatch.setattr(Fabric, "setup", setup)
    with pytest.raises(ProcessLostError):
        stepper_of(model, config, World(0, 2))


def test_other_failures_are_not_taken_for_a_lack_of_memory(scene) -> None:
    model, loader, config = scene()
    tried = fail_above(model, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        stepper_of(model, config).take(loader.batch(np.arange(4)), WEIGHTS, 0)
    assert tried == [4]
    assert not is_out_of_memory(ValueError())


def test_measuring_changes_nothing_and_says_what_does_not_fit(scene, caplog) -> None:
    caplog.set_level(logging.INFO)
    model, loader, _ = scene()
    before = [parameter.clone() for parameter in model.parameters()]
    fail_above(model, 8, torch.OutOfMemoryError("CUDA out of memory."))
    seconds = measuring(model, loader, np.arange(64))
    assert seconds(8) > 0
    assert seconds(16) is None
    for old, parameter in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, parameter)
        assert parameter.grad is None
