"""Images whose latent is far off are found and mended; sound ones are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryosphere.errors import RunError
from cryosphere.training import second_look
from cryosphere.training.second_look import SecondLook, look_again

from .hinge_model import hinge_model


def test_images_sent_to_the_wrong_side_of_the_motion_come_back() -> None:
    model, images, latents = hinge_model((0.0, 1.0), noise=2.0)
    wrong = np.flatnonzero(latents[:, 0].abs() > 1.0)[:4]
    model.encoder.mean.data[wrong] = -latents[wrong]
    found = look_again(model, images, 64)
    assert set(wrong) <= set(found.rows)
    assert len(found.rows) <= 6
    assert np.abs(found.mean - latents[found.rows].numpy()).max() < 0.25  # radians; the noise leaves about 0.05
    assert found.looked_at == len(images)


def test_of_the_other_images_those_explained_best_are_taken_for_right(monkeypatch) -> None:
    monkeypatch.setattr(second_look, "FIRST", 24)
    model, images, latents = hinge_model((0.0, 1.0), noise=2.0)
    far = np.flatnonzero(latents[:, 0].abs() > 1.0)
    first = np.unique(np.linspace(0, len(images) - 1, 24).astype(np.int64))
    wrong = np.concatenate([np.intersect1d(far, first)[:2], np.setdiff1d(far, first)[:3]])
    model.encoder.mean.data[wrong] = -latents[wrong]
    found = look_again(model, images, 64)
    assert len(np.intersect1d(wrong, first)) > 0  # or the test asks nothing
    assert set(wrong) <= set(found.rows)
    assert len(first) < found.looked_at < len(images)


def test_right_answers_are_left_alone_in_strong_noise() -> None:
    model, images, _ = hinge_model((0.0, 1.0), noise=10.0)
    assert len(look_again(model, images, 64).rows) <= 1  # one in e³ per image and conformation by chance, at most


def test_what_was_mended_is_found_by_row_in_any_order() -> None:
    look = SecondLook(np.array([3, 8, 9]), np.zeros((3, 1), np.float32), np.ones((3, 1), np.float32), 20, 1)
    mended, places = look.among(np.array([9, 1, 3, 20]))
    assert mended.tolist() == [2, 0]
    assert places.tolist() == [0, 2]
    nothing = SecondLook(np.zeros(0, np.int64), np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32), 20, 1)
    assert nothing.among(np.arange(4))[1].size == 0


def test_it_is_kept_on_disk_and_a_damaged_file_is_told(tmp_path: Path) -> None:
    look = SecondLook(np.array([3]), np.full((1, 2), 0.5, np.float32), np.ones((1, 2), np.float32), 20)
    look.save(tmp_path / "second_look.npz", step=11)
    again = SecondLook.load(tmp_path / "second_look.npz")
    assert again.rows.tolist() == [3]
    assert (again.looked_at, again.step) == (20, 11)
    (tmp_path / "second_look.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(RunError, match="damaged"):
        SecondLook.load(tmp_path / "second_look.npz")
