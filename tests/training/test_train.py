"""The loop: what a run leaves behind, resuming, stopping, failing, and that every option does something."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from cryosphere.errors import ConfigError, DeviceError, NonFiniteLossError, RunError
from cryosphere.training import checkpoints
from cryosphere.training.batch_size import SMALLEST
from cryosphere.training.configure import configure
from cryosphere.training.data import ParticleLoader
from cryosphere.training.run_directory import RunDirectory
from cryosphere.training.second_look import SecondLook
from cryosphere.training.train import train
from cryosphere.training.trained import TrainedModel
from cryosphere.training.trainer import Trainer

from .conftest import SMALL, read_metrics

TIMES = {"seconds", "epoch_seconds", "images_per_second"}


def final_tensors(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = checkpoints.load_latest(run / "checkpoints")
    assert checkpoint is not None
    return checkpoint.tensors


def test_a_run_leaves_what_the_design_says(settings, tmp_path: Path) -> None:
    assert train(settings(), tmp_path / "run") == "finished"
    run = RunDirectory(tmp_path / "run")
    for path in (run.config_path, run.facts_path, run.model_path, run.particles_path, run.metrics_path):
        assert path.is_file()
    assert list(run.tensorboard.iterdir())
    assert [row["epoch"] for row in read_metrics(run.root)] == ["1", "2"]
    assert not [path for path in run.root.rglob("*") if path.name.startswith(".")]  # no temporary files
    config = run.read_config()
    assert config.images.contrast == "white"  # found out, no longer "auto"
    assert config.images.background_radius is not None


def test_latents_and_structures_come_in_the_order_of_the_input(settings, hinge_data, tmp_path: Path) -> None:
    train(settings(), tmp_path / "run")
    model = TrainedModel.load(tmp_path / "run")
    everything = model.encode().mean
    rows = np.array([70, 3, 41])
    assert np.allclose(model.encode(rows).mean, everything[rows], atol=1e-6)
    assert everything.shape == (96, 2)
    atoms = model.atom_positions(everything[:3])
    assert atoms.shape == (3, len(model.atomic_model.positions), 3)
    beads = model.bead_positions(everything[:3])
    names = np.array([site.atom.name for site in model.atomic_model.structure[0].all()])
    assert np.allclose(atoms[:, names == "CA"], beads, atol=1e-3)  # a bead is its Cα atom


def test_a_resumed_run_gives_the_same_numbers_as_an_uninterrupted_one(settings, tmp_path: Path, monkeypatch) -> None:
    config = settings(epochs=3)
    train(config, tmp_path / "whole")
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, batch: (step(self, batch), stop_at(self, 9))[0])
    assert train(config, tmp_path / "broken") == "stopped"  # in the middle of the second epoch of six steps
    monkeypatch.setattr(Trainer, "_step", step)
    assert train(config, tmp_path / "broken", existing="resume") == "finished"
    whole, resumed = final_tensors(tmp_path / "whole"), final_tensors(tmp_path / "broken")
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
    for before, after in zip(read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "broken"), strict=True):
        assert {k: v for k, v in before.items() if k not in TIMES} == {k: v for k, v in after.items() if k not in TIMES}


def test_a_run_resumed_before_segments_are_joined_ends_as_an_uninterrupted_one(
    settings, tmp_path: Path, monkeypatch
) -> None:
    changes = ("training.validation_fraction=0.6", "training.average=0.9", "loss.kl_latent=0.01")
    config = settings(*changes, epochs=5, segments=3)  # 58 held-out images to judge by; two steps an epoch
    train(config, tmp_path / "whole")
    alive = [int(row["segments"]) for row in read_metrics(tmp_path / "whole")]
    assert alive[-1] < alive[0] == 3  # what hardly moves yet is alike
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, batch: (step(self, batch), stop_at(self, 7))[0])
    assert train(config, tmp_path / "broken") == "stopped"
    monkeypatch.setattr(Trainer, "_step", step)
    assert train(config, tmp_path / "broken", existing="resume") == "finished"
    whole, resumed = final_tensors(tmp_path / "whole"), final_tensors(tmp_path / "broken")
    assert any(name.startswith("average/") for name in whole)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    looks = [SecondLook.load(tmp_path / name / "second_look.npz") for name in ("whole", "broken")]
    assert np.array_equal(looks[0].rows, looks[1].rows)
    assert np.array_equal(looks[0].mean, looks[1].mean)


def test_latents_mended_by_the_second_look_stand_for_the_encoders(settings, tmp_path: Path) -> None:
    train(settings(), tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    steps = int(read_metrics(run.root)[-1]["step"])
    mended = SecondLook(np.array([3, 41]), np.full((2, 2), 5, np.float32), np.full((2, 2), 0.1, np.float32), 96)
    mended.save(run.second_look, step=steps)
    latents = TrainedModel.load(run.root).encode(np.array([41, 7, 3]))
    assert np.array_equal(latents.mean[[0, 2]], mended.mean)
    assert np.array_equal(latents.sd[[0, 2]], mended.sd)
    assert not np.any(latents.mean[1] == 5)
    mended.save(run.second_look, step=steps - 1)  # taken with other weights
    assert not np.any(TrainedModel.load(run.root).encode().mean == 5)


def test_one_epoch_joins_nothing_and_says_what_it_trained(settings, tmp_path: Path) -> None:
    train(settings("training.validation_fraction=0.6", epochs=1, segments=3), tmp_path / "run")
    assert read_metrics(tmp_path / "run")[-1]["segments"] == "3"
    assert final_tensors(tmp_path / "run")["model/segmentation.alive"].all()


def stop_at(trainer: Trainer, step: int) -> None:
    if trainer.state.step == step:
        os.kill(os.getpid(), signal.SIGTERM)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(settings, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        train(settings(epochs=1, seed=seed), tmp_path / name)
    a, b, c = (final_tensors(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a if name.startswith("model/decoder"))


def test_every_image_is_seen_once_per_epoch_and_the_last_batch_is_not_lost(settings, tmp_path: Path) -> None:
    train(settings(epochs=1, batch_size=40), tmp_path / "run")
    row = read_metrics(tmp_path / "run")[0]
    held_out = round(0.05 * 96)
    assert int(row["images_seen"]) == 96 - held_out
    assert int(row["step"]) == 3  # 40 + 40 + 11


@pytest.mark.parametrize(
    "override",
    [
        "encoder.kind=mlp",
        "encoder.kind=free",
        "encoder.grid=5",
        "encoder.latent_dim=3",
        "decoder.pivot=box",
        "decoder.rotation_scale=0.5",
        "decoder.translation_scale=1",
        "segmentation.count=3",
        "segmentation.temperature=5",
        "segmentation.prior_sd=0.1",
        "segmentation.parts=[{chain: A, first: 61, last: 100, segments: 2}]",
        "loss.kl=paper",
        "loss.kl_latent=0.5",
        "loss.kl_segments=50",
        "loss.continuity={kind: linear, start: 0.1, end: 1}",
        "loss.clash={kind: cyclical, high: 1, cycles: 2} loss.clash_distance=9",
        "loss.elastic=0.5",
        "loss.low_pass=25",
        "loss.mask_radius=0.7",
        "images.box=20",
        "images.contrast=black",
        "images.background_radius=30",
        "images.soft_edge=0.4",
        "beads.sigma=3",
        "training.learning_rate=1e-2",
        "training.segmentation_learning_rate=0.1",
        "training.learning_rate_schedule=constant",
        "training.weight_decay=0.5",
        "training.average=0.9",
        "encoder.residual=true",
        "loss.coarse_until=0.9 loss.coarse_resolution=60",
        "training.gradient_clip=1e-3",
        "training.validation_fraction=0.3",
        "training.batch_size=7",
    ],
)
def test_every_option_changes_the_result_and_runs(override: str, settings, plain_run: Path, tmp_path: Path) -> None:
    overrides = re.split(r" (?=loss)", override)
    train(settings(*overrides, epochs=1), tmp_path / "run")
    changed, before = final_tensors(tmp_path / "run"), final_tensors(plain_run)
    same = changed.keys() == before.keys() and all(
        changed[name].shape == before[name].shape and torch.equal(changed[name], before[name]) for name in before
    )
    assert not same
    assert all(torch.isfinite(t).all() for t in changed.values() if t.is_floating_point())


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory, hinge_data) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    config = configure(
        particles=[hinge_data.particles],
        model=hinge_data.model,
        overrides=SMALL,
        segments=2,
        epochs=1,
        batch_size=16,
        device="cpu",
    )
    train(config, folder / "run")
    return folder / "run"


def test_clash_and_elastic_settings_reach_their_losses(settings, tmp_path: Path) -> None:
    results = []
    for name, override in (
        ("a", "loss.clash_distance=4"),
        ("b", "loss.clash_distance=8"),
        ("c", "loss.elastic_cutoff=6"),
    ):
        train(settings("loss.clash=1", "loss.elastic=1", override, epochs=1), tmp_path / name)
        results.append(read_metrics(tmp_path / name)[0])
    assert results[0]["clash"] != results[1]["clash"]
    assert results[0]["elastic"] != results[2]["elastic"]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_tiny_data_sets_train(count: int, settings, hinge_data, tmp_path: Path) -> None:
    from cryosphere.particles.stacks import ImageStacks
    from cryosphere.particles.star import write_star

    few = ImageStacks(hinge_data.table).located()[:count]
    write_star(tmp_path / "few.star", few)
    config = settings()
    config = config.model_copy(
        update={"particles": config.particles.model_copy(update={"files": (tmp_path / "few.star",)})}
    )
    assert train(config, tmp_path / "run") == "finished"
    row = read_metrics(tmp_path / "run")[-1]
    assert row["validation_correlation"] == ""  # nothing to hold out
    assert int(row["images_seen"]) == 2 * count


def test_a_loss_that_is_not_finite_stops_the_run_naming_step_rows_and_term(
    settings, tmp_path: Path, monkeypatch
) -> None:
    step = Trainer._step

    def poisoned(self: Trainer, batch) -> None:
        if self.state.step == 8:
            with torch.no_grad():
                next(self.raw_model.encoder.parameters()).fill_(torch.nan)
        step(self, batch)

    monkeypatch.setattr(Trainer, "_step", poisoned)
    with pytest.raises(
        NonFiniteLossError, match=r"step 8 \(epoch 2\), in: .*total.*rows.*\d+, \d+.*last sound"
    ) as error:
        train(settings(epochs=3), tmp_path / "run")
    assert error.value.exit_code == 1
    checkpoint = checkpoints.load_latest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.facts["state"]["step"] == 6  # the end of the first epoch, intact
    assert all(torch.isfinite(t).all() for t in checkpoint.tensors.values())


def test_a_gradient_that_is_not_finite_never_reaches_a_checkpoint(settings, tmp_path: Path, monkeypatch) -> None:
    step = Trainer._step

    def poisoned(self: Trainer, batch) -> None:
        if (
            self.state.step == 5
        ):  # the last of the first epoch: the loss itself is fine, what it does to the weights not
            self.raw_model.decoder.network[0].weight.register_hook(lambda gradient: gradient * torch.nan)
        step(self, batch)

    monkeypatch.setattr(Trainer, "_step", poisoned)
    with pytest.raises(NonFiniteLossError, match=r"step 5 \(epoch 1\), in: gradient_norm\. Particle rows of that step"):
        train(settings(epochs=2), tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))


def test_an_image_that_spoils_the_loss_is_named_by_its_row(settings, tmp_path: Path, monkeypatch) -> None:
    batch = ParticleLoader.batch

    def spoiled(self: ParticleLoader, rows):
        made = batch(self, rows)
        made.spectra[made.rows == 42] = torch.nan
        return made

    monkeypatch.setattr(ParticleLoader, "batch", spoiled)
    config = settings("training.validation_fraction=0", epochs=1)
    with pytest.raises(NonFiniteLossError, match=r"rows at fault \(from 1\): 43\."):
        train(config, tmp_path / "run")


def test_a_damaged_checkpoint_falls_back_to_the_one_before(settings, tmp_path: Path, caplog) -> None:
    config = settings(epochs=2)
    train(config, tmp_path / "run")
    newest = sorted((tmp_path / "run" / "checkpoints").glob("*.safetensors"))[-1]
    content = bytearray(newest.read_bytes())
    content[-3] ^= 0xFF  # one flipped byte in the numbers
    newest.write_bytes(content)
    assert train(config, tmp_path / "run", existing="resume") == "finished"
    assert "falling back" in caplog.text
    assert [row["epoch"] for row in read_metrics(tmp_path / "run")] == ["1", "2"]


def test_an_occupied_folder_is_refused_and_left_alone(settings, tmp_path: Path) -> None:
    train(settings(epochs=1), tmp_path / "run")
    before = final_tensors(tmp_path / "run")
    with pytest.raises(RunError, match="already holds a run"):
        train(settings(epochs=1, seed=9), tmp_path / "run")
    assert all(torch.equal(before[name], tensor) for name, tensor in final_tensors(tmp_path / "run").items())


def test_overwriting_keeps_the_old_run_until_the_new_one_stands(settings, tmp_path: Path, monkeypatch) -> None:
    train(settings(epochs=1), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    def disk_is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cryosphere.training.train.write_star", disk_is_full)
    with pytest.raises(OSError, match="No space"):
        train(settings(epochs=1, seed=9), tmp_path / "run", existing="overwrite")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    monkeypatch.undo()
    train(settings(epochs=1, seed=9), tmp_path / "run", existing="overwrite")
    assert RunDirectory(tmp_path / "run").read_config().training.seed == 9
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_resuming_with_changed_settings_names_the_key(settings, tmp_path: Path) -> None:
    train(settings(epochs=1), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"training\.learning_rate: 0\.003 → 0\.5"):
        train(settings("training.learning_rate=0.5", epochs=1), tmp_path / "run", existing="resume")


def test_a_run_whose_batch_size_was_left_open_is_gone_on_with_as_it_was_decided(settings, tmp_path: Path) -> None:
    config = settings(batch_size=None)
    assert config.training.batch_size is None
    assert train(config, tmp_path / "run") == "finished"
    assert RunDirectory(tmp_path / "run").read_config().training.batch_size == SMALLEST
    assert train(config, tmp_path / "run", existing="resume") == "finished"


def test_a_run_that_takes_few_images_at_once_gives_the_same_numbers(settings, tmp_path: Path) -> None:
    train(settings(), tmp_path / "whole")
    train(settings("training.images_at_once=5"), tmp_path / "pieces")
    for whole, pieced in zip(read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "pieces"), strict=True):
        for name in whole.keys() - TIMES:
            expected = float(whole[name])
            assert float(pieced[name]) == pytest.approx(expected, rel=5e-3, abs=2e-3 * abs(expected) + 1e-4), name


def test_a_second_run_finds_the_preprocessed_images(settings, tmp_path: Path, caplog) -> None:
    train(settings(epochs=1), tmp_path / "a")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cryosphere-cache").iterdir()}
    train(settings(epochs=1, seed=3), tmp_path / "b")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cryosphere-cache").iterdir()} == made


def test_a_run_can_be_read_after_its_cache_is_gone(settings, tmp_path: Path) -> None:
    train(settings(epochs=1), tmp_path / "run")
    before = TrainedModel.load(tmp_path / "run").encode().mean
    for path in (tmp_path / "cryosphere-cache").iterdir():
        path.unlink()
    assert np.allclose(TrainedModel.load(tmp_path / "run").encode().mean, before, atol=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_asking_for_cuda_without_one_says_so(settings, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="CUDA"):
        train(settings(device="cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_noise_is_not_taken_for_motion(settings, hinge_data, tmp_path: Path, caplog) -> None:
    """With images of nothing but noise the latent stays at its prior, and the log says that nothing was found."""
    for name in ("particles.star", "particles.mrcs"):
        shutil.copy(hinge_data.particles.parent / name, tmp_path / name)
    with mrcfile.mmap(tmp_path / "particles.mrcs", mode="r+") as stack:
        stack.data[:] = np.random.default_rng(0).normal(size=stack.data.shape)
    options = {"particles": [tmp_path / "particles.star"], "model": hinge_data.model, "segments": 2, "device": "cpu"}
    config = configure(overrides=[*SMALL, "training.validation_fraction=0.25"], epochs=12, batch_size=16, **options)
    with caplog.at_level("INFO"):
        train(config, tmp_path / "run")
    last = read_metrics(tmp_path / "run")[-1]
    assert float(last["kl_latent"]) < 0.01  # nats; the hinge's images hold 6
    assert float(last["validation_gain"]) <= 0
    assert "explained no better by the motion" in caplog.text


def test_motion_that_is_there_is_borne_out_by_held_out_images(settings, tmp_path: Path, caplog) -> None:
    with caplog.at_level("INFO"):
        train(settings("training.validation_fraction=0.25", epochs=15), tmp_path / "run")
    last = read_metrics(tmp_path / "run")[-1]
    assert float(last["validation_gain"]) > 1
    assert "better than one structure does" in caplog.text
