"""A model made into a map: the frame it lies in, the kinds of density, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cryosphere.errors import ConfigError, InputError, MapError, StructureError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import SIGMA_OF_RESOLUTION, AtomDensity, bead_volumes
from cryosphere.maps.files import read_map, write_map
from cryosphere.maps.fitting.agreement import Agreement
from cryosphere.maps.volume_of import VolumeSettings, volume_of
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model


@pytest.fixture(scope="module")
def protein(tmp_path_factory):
    path = tmp_path_factory.mktemp("protein") / "m.cif"
    write_model(path, two_domain_protein(0, (60, 40)).model)
    return path


@pytest.mark.parametrize("box", [32, 33])
def test_the_model_s_origin_is_the_centre_of_the_box(protein, tmp_path, box):
    volume_of(protein, tmp_path / "v.mrc", VolumeSettings(pixel_size=3.0, box=box, resolution=9.0))
    found, model = read_map(tmp_path / "v.mrc"), read_model(protein)
    assert found.origin.tolist() == [-3.0 * (box // 2)] * 3
    assert (found.values == AtomDensity(model, ImageGrid(box, 3.0), 9.0).volume(model.positions)).all()
    assert Agreement(model, found, 9.0).of(model.positions) > 0.98


def test_beads_are_those_of_the_images(protein, tmp_path):
    beads = read_model(protein).beads
    positions, amplitudes = torch.from_numpy(beads.positions[None]).float(), torch.from_numpy(beads.amplitudes).float()
    for resolution, sigma in ((None, 2.0), (12.0, SIGMA_OF_RESOLUTION * 12.0)):
        settings = VolumeSettings(pixel_size=3.0, box=32, resolution=resolution, atoms="beads")
        made = volume_of(protein, tmp_path / "v.mrc", settings, overwrite=True)
        expected = bead_volumes(positions, amplitudes, ImageGrid(32, 3.0), sigma)[0].numpy()
        assert np.allclose(made.values, expected, rtol=1e-6, atol=1e-6)


def test_like_another_map_the_density_lies_over_the_model_there(protein, tmp_path):
    origin = np.array([-60.0, -31.0, -44.0])
    write_map(tmp_path / "like.mrc", np.random.default_rng(0).normal(size=(36, 36, 36)), 2.5, origin)
    made = volume_of(protein, tmp_path / "v.mrc", VolumeSettings(like=tmp_path / "like.mrc", resolution=9.0))
    found, model = read_map(tmp_path / "v.mrc"), read_model(protein)
    assert (found.shape, found.pixel_size, found.origin.tolist()) == ((36, 36, 36), 2.5, origin.tolist())
    assert (found.values == made.values).all()
    assert Agreement(model, found, 9.0).of(model.positions) > 0.98


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        (VolumeSettings(), ConfigError, "--pixel-size"),
        (VolumeSettings(pixel_size=2.0), ConfigError, "--box"),
        (VolumeSettings(pixel_size=-1.0, box=32), ConfigError, "positive"),
        (VolumeSettings(pixel_size=float("nan"), box=32), ConfigError, "positive"),
        (VolumeSettings(pixel_size=2.0, box=4), ConfigError, "8 to 1024"),
        (VolumeSettings(pixel_size=2.0, box=10**6), ConfigError, "8 to 1024"),
        (VolumeSettings(pixel_size=3.0, box=32, resolution=0.1), ConfigError, "6 Å, two voxels"),
        (VolumeSettings(pixel_size=3.0, box=32, resolution=float("nan")), ConfigError, "found nan"),
        (VolumeSettings(pixel_size=0.5, box=32), StructureError, "outside the box"),
    ],
)
def test_impossible_settings_leave_nothing(protein, tmp_path, settings, kind, words):
    with pytest.raises(kind, match=words):
        volume_of(protein, tmp_path / "v.mrc", settings)
    assert list(tmp_path.iterdir()) == []


def test_a_map_to_be_like_must_be_a_cube_and_the_only_measure(protein, tmp_path):
    write_map(tmp_path / "like.mrc", np.random.default_rng(0).normal(size=(36, 36, 30)), 2.5)
    with pytest.raises(MapError, match="30 x 36 x 36"):
        volume_of(protein, tmp_path / "v.mrc", VolumeSettings(like=tmp_path / "like.mrc"))
    with pytest.raises(ConfigError, match="leave out"):
        volume_of(protein, tmp_path / "v.mrc", VolumeSettings(like=tmp_path / "like.mrc", box=32))


def test_what_is_there_is_kept_unless_allowed(protein, tmp_path):
    (tmp_path / "v.mrc").write_text("mine")
    with pytest.raises(InputError, match="--overwrite"):
        volume_of(protein, tmp_path / "v.mrc", VolumeSettings(pixel_size=3.0, box=32))
    assert (tmp_path / "v.mrc").read_text() == "mine"
