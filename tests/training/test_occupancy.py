"""Runs that learn occupancies: settings that reach the model, resuming, and runs that learn none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cryosphere.errors import ConfigError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.structures.model import read_model
from cryosphere.training.build import build_model
from cryosphere.training.train import train
from cryosphere.training.trained import TrainedModel
from cryosphere.training.trainer import Trainer

from .conftest import read_metrics
from .test_train import stop_at

LEARNED = ("occupancy.kind=global", "occupancy.kind=latent", "occupancy.kind=global occupancy.per=segment")


def weights(run: Path) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in TrainedModel.load(run, device="cpu").network.state_dict().items()}


@pytest.fixture
def learned(settings, tmp_path: Path):
    """A trained run with these settings of occupancy."""

    def make(overrides: str, name: str = "run", **options: object) -> Path:
        train(
            settings(*overrides.split(), "training.second_look=false", "particles.check=off", **options),
            tmp_path / name,
        )
        return tmp_path / name

    return make


def test_without_occupancy_nothing_of_it_is_in_the_run(learned) -> None:
    run = learned("occupancy.kind=off", epochs=1)
    model = TrainedModel.load(run, device="cpu")
    assert not [name for name in weights(run) if "occupancy" in name]
    assert not model.learns_occupancy
    assert (model.occupancies(np.zeros((3, 2))) == np.ones((3, 100))).all()
    assert read_metrics(run)[0]["occupancy"] == "0"


@pytest.mark.parametrize("overrides", LEARNED)
def test_a_run_says_how_much_of_each_residue_there_is(overrides: str, learned) -> None:
    run = learned(overrides, epochs=1)
    model = TrainedModel.load(run, device="cpu")
    found = model.occupancies([[0.0, 0.0], [2.0, -2.0]])
    assert model.learns_occupancy
    assert found.shape == (2, 100)
    assert (found > 0).all()
    assert found.std() > 0  # it has moved from where it started
    assert (np.abs(found[0] - found[1]).max() > 0) == ("latent" in overrides)
    assert float(read_metrics(run)[0]["occupancy"]) > 0


def test_every_setting_of_occupancy_changes_the_run(learned) -> None:
    changes = {
        "plain": "",
        "latent": "occupancy.kind=latent",
        "hidden": "occupancy.kind=latent occupancy.hidden=[5]",
        "segment": "occupancy.per=segment",
        "window": "occupancy.window=9",
        "absence": "occupancy.absence=500",
        "step": "occupancy.step=500",
        "rate": "occupancy.learning_rate=1e-3",
    }
    runs = {name: learned(f"occupancy.kind=global {each}", name, epochs=1) for name, each in changes.items()}
    losses = {name: read_metrics(run)[0]["train_loss"] for name, run in runs.items()}
    assert len(set(losses.values())) == len(changes), losses


def test_unknown_kinds_are_refused(settings) -> None:
    with pytest.raises(ConfigError, match=r"occupancy\.kind"):
        settings("occupancy.kind=sometimes")


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(settings, tmp_path: Path, monkeypatch) -> None:
    config = settings(*LEARNED[1].split(), "training.second_look=false", "particles.check=off")
    train(config, tmp_path / "whole")
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, batch: (step(self, batch), stop_at(self, 8))[0])
    assert train(config, tmp_path / "resumed") == "stopped"
    monkeypatch.setattr(Trainer, "_step", step)
    assert train(config, tmp_path / "resumed", existing="resume") == "finished"
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "resumed")
    assert any("occupancy" in name for name in whole)
    for name, value in whole.items():
        assert (value == resumed[name]).all(), name


def test_a_joined_segment_takes_the_occupancy_of_the_one_it_joins(learned) -> None:
    run = learned("occupancy.kind=global occupancy.per=segment", epochs=2, segments=3)
    found = TrainedModel.load(run, device="cpu").occupancies(np.zeros((1, 2)))[0]
    membership = TrainedModel.load(run, device="cpu").membership()
    firm = membership.max(1) > 0.9999
    for segment in range(membership.shape[1]):
        inside = found[firm & (membership.argmax(1) == segment)]
        assert np.ptp(inside) < 1e-3 if len(inside) else True


def test_all_else_begins_as_in_a_run_that_learns_none(settings) -> None:
    beads, grid = read_model(settings().model).beads, ImageGrid(24, 5.0)
    plain, *others = (
        build_model(settings(*overrides.split()), beads, grid, 96, torch.device("cpu")).state_dict()
        for overrides in ("occupancy.kind=off", *LEARNED)
    )
    for other in others:
        assert len(other) > len(plain)
        assert all(torch.equal(value, other[name]) for name, value in plain.items())
