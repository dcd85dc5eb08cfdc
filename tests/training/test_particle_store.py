"""Images from the device's memory are those from the file, and they go there only where there is room."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from cryosphere.imaging.grid import ImageGrid
from cryosphere.particles.cache import ParticleImages
from cryosphere.particles.checked_array import CheckedArray, build
from cryosphere.particles.read import read_particles
from cryosphere.progress import SILENT
from cryosphere.training import particle_store
from cryosphere.training.data import AHEAD, ParticleLoader
from cryosphere.training.particle_store import ResidentParticles, StoredParticles, place

CPU = torch.device("cpu")
COUNT, BOX, POINTS = 23, 24, 7


def filled(array: CheckedArray, seed: int) -> CheckedArray:
    values = np.random.default_rng(seed).normal(size=array.shape).astype(np.float16)
    build(array, np.array_split(np.arange(len(values)), 4), values.__getitem__, SILENT.track(len(values), "filling"))
    return array


@pytest.fixture
def images(tmp_path, hinge_data) -> ParticleImages:
    path = filled(CheckedArray(tmp_path / "spectra.npy", (COUNT, BOX, BOX // 2 + 1, 2)), 1).path
    return ParticleImages(read_particles(hinge_data.particles)[np.arange(COUNT)], BOX, 2.0, path)


@pytest.fixture
def features(tmp_path) -> CheckedArray:
    return filled(CheckedArray(tmp_path / "lifted.npy", (COUNT, POINTS)), 2)


@pytest.mark.parametrize("box", [BOX, 16])
def test_resident_images_are_those_of_the_file(images, features, box, monkeypatch) -> None:
    monkeypatch.setattr(particle_store, "COPIED_AT_ONCE", 5 * BOX * BOX * 4)
    stored = StoredParticles(images, features, CPU, box)
    resident = ResidentParticles.copy(stored)
    rows = np.array([22, 3, 3, 0])
    for found, expected in zip(resident.fetch(rows, torch.from_numpy(rows)), stored.fetch(rows, None), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(stored.fetch(rows, None)[0], images.spectra(rows, box))


def test_without_features_there_are_none(images) -> None:
    stored = StoredParticles(images, None, CPU, BOX)
    rows = torch.arange(2)
    assert stored.fetch(rows.numpy(), rows)[1] is None
    assert ResidentParticles.copy(stored).fetch(rows.numpy(), rows)[1] is None


def test_only_what_fits_goes_to_the_device_and_nothing_on_a_processor(images, features, caplog) -> None:
    caplog.set_level(logging.INFO)
    stored = StoredParticles(images, features, CPU, BOX)
    assert stored.bytes == COUNT * (BOX * (BOX // 2 + 1) * 4 + POINTS * 2)
    room = int(stored.bytes / particle_store.SHARE_OF_MEMORY)
    assert isinstance(place(stored, room + 1), ResidentParticles)
    assert place(stored, room - 1) is stored
    assert "do not fit" in caplog.text
    assert place(stored, None) is stored


@pytest.mark.parametrize("count", [1, AHEAD, AHEAD + 1, COUNT])
def test_batches_come_in_order_however_many_are_read_ahead(images, features, count) -> None:
    loader = ParticleLoader(images, features, CPU, grid=ImageGrid(16, 3.0))
    rows = np.random.default_rng(0).permutation(COUNT)[:count]
    batches = list(loader.batches(rows, 1))
    assert [batch.rows.tolist() for batch in batches] == [[row] for row in rows]
    assert batches[0].spectra.shape == (1, 16, 9)
    assert batches[0].features.shape == (1, POINTS)
    assert list(loader.batches(rows[:0], 4)) == []
