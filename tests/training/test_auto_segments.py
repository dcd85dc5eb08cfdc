"""With `segments: auto` as many segments stay as the images bear out, and what moves as one part is told as one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cryosphere.cli.main import run
from cryosphere.errors import ConfigError, RunError
from cryosphere.model.posteriors import Gaussian
from cryosphere.training import auto_segments
from cryosphere.training.auto_segments import find_moving_parts, prune
from cryosphere.training.configure import configure
from cryosphere.training.joining import Scene
from cryosphere.training.moving_parts import LEAST, MOST, Merge, MovingParts, fewest, start_count
from cryosphere.training.train import train
from cryosphere.training.trainer import Trainer

from .conftest import read_metrics
from .hinge_model import hinge_model
from .test_train import final_tensors, stop_at

EVERY = np.arange(240)  # images of the known hinge


def test_pieces_of_a_body_become_one_segment_and_the_hinge_stays_where_it_is() -> None:
    model, images, _ = hinge_model((0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0))
    joins = prune(model, images, EVERY, 64, 240)
    assert len(joins) == 6
    with torch.no_grad():
        strongest = model.segmentation(draw=False).argmax(1)
    assert (strongest[:-1] != strongest[1:]).nonzero().item() == 19  # residues 0-19 and 20-39
    assert not model.training


def test_a_difference_stays_if_the_images_show_it_and_goes_if_they_cannot() -> None:
    nearly = (0.0, 0.0, 1.0, 0.94)  # the last quarter lags by up to 5 degrees
    model, images, _ = hinge_model(nearly, noise=0.02)
    assert {2, 3} not in [{join.gone, join.kept} for join in prune(model, images, EVERY, 64, 10_000)]
    model, images, _ = hinge_model(nearly, noise=20.0)
    prune(model, images, EVERY, 64, 10_000)
    assert model.segmentation.alive.sum() == 2  # the halves move too far apart to be joined because of noise


def test_a_difference_has_to_earn_its_parameters_in_all_images_together() -> None:
    found = {}
    for trained_on in (10, 10**6):  # a segment costs 1.7 nats per image in ten, for one dimension in use
        model, images, _ = hinge_model((0.0, 0.0, 1.0, 0.94), noise=1.0)
        found[trained_on] = [{join.gone, join.kept} for join in prune(model, images, EVERY, 64, trained_on)]
    assert {2, 3} in found[10]
    assert {2, 3} not in found[10**6]


def test_the_price_is_schwarz_s_for_the_dimensions_in_use() -> None:
    model, images, _ = hinge_model((0.0, 1.0))
    with torch.no_grad():
        scene = Scene(model, images, EVERY, 64)
    used, unused = torch.tensor([[2.0, 0.0], [-2.0, 0.0]]), torch.tensor([[-1.0, 0.0], [-1.0, 0.0]])
    scene.answers = [Gaussian(used, unused)]  # of two dimensions the second says nothing of an image
    assert auto_segments._price(scene, 1000) == pytest.approx((6 * 2 + 3) / 2 * math.log(1000) / 1000)


def test_who_is_unsure_joins_only_what_moves_alike() -> None:
    loss = auto_segments._Loss
    assert not loss(0.5, 0.1).is_paid_for(price=0.1, misfit=0.1)  # surely dearer than the price
    assert loss(0.2, 0.1).is_paid_for(price=0.1, misfit=1.0)
    assert not loss(0.2, 0.1).is_paid_for(price=0.1, misfit=5.0)  # Å
    assert loss(0.05, 0.01).is_paid_for(price=0.1, misfit=5.0)  # surely cheaper


def test_segments_that_are_no_neighbours_are_one_moving_part() -> None:
    model, images, _ = hinge_model((0.0, 1.0, 1.0, 0.0))
    found = find_moving_parts(model, images, EVERY, 64)
    assert found is not None
    assert sorted(map(sorted, found.parts)) == [[0, 3], [1, 2]]
    assert (found.segments, found.images) == (4, 240)
    assert found.kept > 0.98
    assert found.gain > 2 * found.error > 0
    assert [merge.parts for merge in found.merges] == [3, 2, 1]
    assert found.merges[-1].kept == 0.0
    assert sum(merge.loss for merge in found.merges) == pytest.approx(found.gain)
    assert "2 moving parts (of 4 segments): " in found.words()
    with torch.no_grad():  # nothing of the model is changed
        assert model.segmentation.alive.all()


def test_a_small_third_movement_is_a_finer_answer_not_another_part() -> None:
    model, images, _ = hinge_model((0.0, 0.0, 1.0, 0.9), noise=0.1)
    found = find_moving_parts(model, images, EVERY, 64)
    assert found is not None
    assert sorted(map(sorted, found.parts)) == [[0, 1], [2, 3]]
    finer = next(merge for merge in found.merges if {*merge.first, *merge.second} == {2, 3})
    assert finer.loss > 5 * finer.error  # the images show it all the same
    assert finer.kept > 0.9


def test_where_nothing_moves_there_is_one_part() -> None:
    model, images, _ = hinge_model((0.0, 0.0, 0.0, 0.0))
    found = find_moving_parts(model, images, EVERY, 64)
    assert found is not None
    assert len(found.parts) == 1
    assert "1 moving part (of 4 segments)" in found.words()


def test_a_handful_of_images_decides_nothing() -> None:
    model, images, _ = hinge_model((0.0, 0.0, 1.0, 1.0))
    assert prune(model, images, np.arange(10), 64, 10) == []
    assert find_moving_parts(model, images, np.arange(10), 64) is None


def test_the_fewest_parts_that_keep_nine_tenths_are_told() -> None:
    def merge(first: tuple[int, ...], second: tuple[int, ...], parts: int, kept: float) -> Merge:
        return Merge(first, second, parts, 1.0, 1.0, 0.1, kept)

    down = [merge((0,), (2,), 3, 1.001), merge((0, 2), (3,), 2, 0.89), merge((0, 2, 3), (1,), 1, 0.0)]
    parts, kept = fewest(down, [0, 1, 2, 3])
    assert (sorted(parts), kept) == ([(0, 2), (1,), (3,)], 1.001)
    assert fewest(down[1:], [0, 1, 3]) == ([(0,), (1,), (3,)], 1.0)  # the first merge already loses too much
    late = [merge((0,), (1,), 2, 0.8), merge((0, 1), (2,), 1, 0.95)]  # a merge can win back what another one lost
    assert fewest(late, [0, 1, 2]) == ([(0, 1, 2)], 0.95)


def test_more_residues_begin_with_more_segments_within_limits() -> None:
    counts = [start_count(residues) for residues in range(1, 60_000, 7)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, MOST)
    assert start_count(100) == LEAST


@pytest.fixture(scope="module")
def few(hinge_data) -> list[str]:
    """Settings of a run in which 58 of 96 images are held out, to judge by."""
    return ["training.validation_fraction=0.6", "loss.kl_latent=0.01"]


def test_a_run_writes_its_moving_parts_and_resumes_to_the_same_numbers(
    settings, few, tmp_path: Path, monkeypatch, caplog
) -> None:
    config = settings(*few, "segmentation.start=6", epochs=5, segments="auto")
    with caplog.at_level("INFO"):
        train(config, tmp_path / "whole")
    assert "segments: 6 to begin with, for 100 residues" in caplog.text
    assert "moving part" in caplog.text
    alive = [int(row["segments"]) for row in read_metrics(tmp_path / "whole")]
    assert alive[-1] < alive[0] == 6
    found = MovingParts.load(tmp_path / "whole" / "moving_parts.json")
    assert found.segments <= alive[-1]
    assert sorted(s for part in found.parts for s in part) == sorted({s for part in found.parts for s in part})
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, batch: (step(self, batch), stop_at(self, 8))[0])
    assert train(config, tmp_path / "broken") == "stopped"  # between the first and the second round
    assert not (tmp_path / "broken" / "moving_parts.json").exists()
    monkeypatch.setattr(Trainer, "_step", step)
    assert train(config, tmp_path / "broken", existing="resume") == "finished"
    whole, resumed = final_tensors(tmp_path / "whole"), final_tensors(tmp_path / "broken")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert MovingParts.load(tmp_path / "broken" / "moving_parts.json") == found


def test_runs_with_a_number_given_write_no_moving_parts(settings, few, tmp_path: Path) -> None:
    train(settings(*few, segments=2, epochs=1), tmp_path / "run")
    assert not (tmp_path / "run" / "moving_parts.json").exists()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "moving_parts.json"
    found = MovingParts(((0, 2), (1,)), 3, 50, 2.0, 0.1, 0.97, (Merge((0,), (2,), 2, 0.5, 0.1, 0.05, 0.97),))
    found.save(path)
    assert MovingParts.load(path) == found
    path.write_text(json.dumps({"parts": [[0]]}))
    with pytest.raises(RunError, match=r"moving_parts\.json is damaged"):
        MovingParts.load(path)


def test_auto_goes_with_neither_parts_nor_a_ban_on_joining() -> None:
    inputs = {"particles": "p.star", "model": "m.cif", "segments": "auto"}
    assert configure(**inputs).segmentation.count == "auto"
    with pytest.raises(ConfigError, match="join: false forbids"):
        configure(**inputs, overrides=["segmentation.join=false"])
    with pytest.raises(ConfigError, match="not both"):
        configure(**inputs, overrides=["segmentation.parts=[{chain: A}]"])
    with pytest.raises(ConfigError, match="start is for count: auto"):
        configure(**{**inputs, "segments": 4}, overrides=["segmentation.start=8"])
    for wrong in (0, "many"):
        with pytest.raises(ConfigError, match=r"segmentation\.count"):
            configure(**{**inputs, "segments": wrong})


def test_the_command_line_takes_a_number_or_auto(hinge_data, tmp_path: Path, capsys) -> None:
    arguments = ["train", "--particles", str(hinge_data.particles), "--model", str(hinge_data.model)]
    arguments += ["--outdir", str(tmp_path / "run"), "--epochs", "1", "--box", "24", "--device", "cpu"]
    assert run([*arguments, "--segments", "many"]) == 2
    assert "many" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run([*arguments, "--segments", "auto", "--no-check"]) == 0
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "count: auto" in config
    assert f"start: {start_count(100)}" in config  # so that the run can be read whatever later versions begin with
