"""Maps of particles with poses: against the density they were simulated from, and against each other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
import torch

from cryosphere.errors import ConfigError, MapError, ParticleError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps import reconstruction
from cryosphere.maps.backproject import FILES, BackprojectionSettings, backproject
from cryosphere.maps.density import bead_volumes
from cryosphere.maps.files import write_map
from cryosphere.maps.fsc import shell_correlations, volume_spectra
from cryosphere.maps.reconstruction import ReconstructionSettings, half_sets, reconstruct_particles, skewness
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.star import write_star
from cryosphere.structures.model import read_model


def reconstructed(simulation, rows=None, *, table=None, **settings):
    table = table or read_particles(simulation.particles)
    stacks = ImageStacks(table, simulation.folder)
    return reconstruct_particles(table, stacks, rows, ReconstructionSettings(device="cpu", **settings))


def shells_to(share, box):
    """Shells from 0 up to a share of the Nyquist frequency."""
    return slice(0, int(share * box / 2) + 1)


@pytest.mark.parametrize("box", [48, 40, 33])
def test_without_noise_the_map_is_the_density_up_to_four_fifths_of_nyquist(box, noiseless, agreement_with_truth):
    """800 images by two microscopes, cropped to even and odd boxes."""
    found = reconstructed(noiseless, box=box)
    assert found.map.shape == (box, box, box)
    assert found.grid.pixel_size == pytest.approx(4.0 * 48 / box)
    assert agreement_with_truth(noiseless, found)[shells_to(0.8, box)].min() >= 0.99
    assert found.resolution().kind == found.resolution("unmasked").kind == "at Nyquist"
    assert "or better (at Nyquist" in str(found.resolution())


def test_the_sum_along_a_line_of_sight_is_the_images_grey_value(noiseless):
    """In electrons, as the beads' own density; the trilinear mean next to the origin leaves a percent or two."""
    found = reconstructed(noiseless)
    images = read_particles(noiseless.particles)
    assert "keep their grey values" in " ".join(found.notes)
    beads = read_model(noiseless.model).beads
    positions, amplitudes = (torch.as_tensor(x, dtype=torch.float32) for x in (beads.positions, beads.amplitudes))
    truth = bead_volumes(positions[None], amplitudes, ImageGrid(48, images.pixel_size))[0].numpy()
    slope = float((found.map * truth).sum() / np.square(truth).sum())
    assert slope == pytest.approx(1.0, abs=0.03)


def test_dark_protein_gives_the_same_map_and_is_recognised(noisy, tmp_path):
    shutil.copytree(noisy.folder, tmp_path / "dark")
    with mrcfile.open(tmp_path / "dark" / "particles.mrcs", mode="r+") as stack:
        stack.data[:] = -stack.data
    table = read_particles(tmp_path / "dark" / "particles.star")
    dark = reconstruct_particles(table, ImageStacks(table), settings=ReconstructionSettings(device="cpu"))
    bright = reconstructed(noisy)
    assert (dark.contrast, bright.contrast) == ("black", "white")
    assert np.allclose(dark.map, bright.map, atol=1e-5 * np.abs(bright.map).max())
    assert any("dark in the images (the map's grey values have skewness -" in note for note in dark.notes)
    overridden = reconstructed(noisy, contrast="black")
    assert np.array_equal(overridden.map, -bright.map)


def test_images_of_nothing_do_not_decide_the_contrast():
    values = np.random.default_rng(0).normal(size=(3, 32, 32, 32)).astype(np.float32)
    contrast, why = reconstruction._bright(torch.from_numpy(values), ImageGrid(32, 4.0), "auto")
    assert contrast in ("white", "black")
    assert "too little to be sure" in why


def test_a_hollow_particle_is_bright_where_its_shell_is():
    axis = np.arange(48) - 24
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    shell = ((radius > 11) & (radius < 14)).astype(np.float32)
    assert skewness(shell - shell.mean(), ImageGrid(48, 4.0)) > 0.5
    assert skewness(-shell, ImageGrid(48, 4.0)) < -0.5


def test_noise_leaves_the_resolution_that_the_truth_confirms(noisy, agreement_with_truth):
    """0.143 between half-maps is 0.5 between the whole map and the truth (Rosenthal & Henderson 2003)."""
    found = reconstructed(noisy)
    curves = found.curves
    assert curves.unmasked[2] > 0.95 > curves.unmasked[shells_to(0.9, 48)][-1]
    assert curves.masked[20] > curves.unmasked[20]  # the solvent's noise is masked out
    true = agreement_with_truth(noisy, found).numpy()
    crossing = found.resolution("unmasked")
    expected = reconstruction.resolution_at(true, curves.frequencies, 0.5)
    assert (crossing.kind, expected.kind) == ("crossed", "crossed")
    assert crossing.angstrom == pytest.approx(expected.angstrom, rel=0.15)  # one shell of 24 is 6 % there
    inside = agreement_with_truth(noisy, replace(found, map=0.5 * (found.half1 + found.half2)), found.mask.values)
    corrected = found.resolution("corrected", 0.5)  # between halves; 2/3 between all, √(2/3) with the truth
    expected = reconstruction.resolution_at(inside.numpy(), curves.frequencies, np.sqrt(2 / 3))
    assert corrected.angstrom == pytest.approx(expected.angstrom, rel=0.1)
    assert corrected.angstrom < found.resolution("unmasked", 0.5).angstrom


def test_more_images_show_finer_detail(noisy, agreement_with_truth):
    few, many = reconstructed(noisy, np.arange(300)), reconstructed(noisy)
    assert agreement_with_truth(noisy, many)[5:20].mean() > agreement_with_truth(noisy, few)[5:20].mean() + 0.05
    assert many.resolution("unmasked", 0.5).angstrom < few.resolution("unmasked", 0.5).angstrom


def test_padded_images_are_worth_more_images(noisy):
    """In signal over noise of the half-maps, FSC / (1 - FSC): up to 16/9 times for a voxel by itself."""
    plain, padded = (reconstructed(noisy, padding=padding).curves.unmasked[6:16] for padding in (1, 2))
    ratio = np.median((padded / (1 - padded)) / (plain / (1 - plain)))
    assert 1.1 < ratio < 2.0


def test_half_maps_share_no_image(noisy, tmp_path):
    """Other images in half 2 leave half-map 1 as it is, to the last bit."""
    table = read_particles(noisy.particles)
    halves = np.arange(len(table)) % 2 + 1
    table = replace(table, half_set=halves)
    before = reconstructed(noisy, table=table, contrast="white")
    assert any("as rlnRandomSubset says" in note for note in before.notes)
    shutil.copytree(noisy.folder, tmp_path / "changed")
    with mrcfile.open(tmp_path / "changed" / "particles.mrcs", mode="r+") as stack:
        stack.data[1::2] = np.random.default_rng(0).normal(size=stack.data[1::2].shape)
    changed = replace(table, source=tmp_path / "changed" / "particles.star")
    after = reconstruct_particles(
        changed, ImageStacks(changed), settings=ReconstructionSettings(device="cpu", contrast="white")
    )
    assert np.array_equal(after.half1, before.half1)
    assert not np.allclose(after.half2, before.half2)


def test_rows_of_one_image_are_drawn_into_the_same_half(noisy):
    table = read_particles(noisy.particles)
    twice = table[np.repeat(np.arange(50), 2)]
    halves, _ = half_sets(twice, np.arange(100), seed=0)
    assert np.array_equal(halves[::2], halves[1::2])
    assert halves.sum() == 50


def test_halves_come_from_the_file_or_are_drawn(noisy):
    table = read_particles(noisy.particles)
    rows = np.arange(10)
    given = replace(table, half_set=np.where(np.arange(len(table)) < 4, 2, 1))
    halves, why = half_sets(given, rows, seed=0)
    assert halves.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert "rlnRandomSubset says" in why
    drawn, why = half_sets(replace(table, half_set=np.ones(len(table), dtype=np.int64)), rows, seed=0)
    assert sorted(drawn.tolist()) == [0] * 5 + [1] * 5
    assert "names 10 and 0 of 10 images: no use" in why
    again, why = half_sets(replace(table, half_set=np.zeros(len(table), dtype=np.int64)), rows, seed=1)
    assert drawn.tolist() != again.tolist()
    assert "drawn with seed 1" in why


def test_the_result_does_not_depend_on_the_number_of_threads(noisy):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(reconstructed(noisy, np.arange(200)).map)
    finally:
        torch.set_num_threads(before)
    # the sums are equal to the last bit; the transforms of the volume may not be
    assert np.allclose(*found, atol=1e-5 * np.abs(found[0]).max())


def test_too_little_memory_is_said_beforehand_with_the_box_that_fits(noisy, monkeypatch):
    monkeypatch.setattr(reconstruction, "available_memory", lambda: reconstruction.bytes_needed(32) + 1)
    with pytest.raises(ConfigError, match=r"box of 48 voxels needs.*--box 32"):
        reconstructed(noisy, np.arange(4))


def test_what_cannot_be_reconstructed_is_refused(noisy):
    with pytest.raises(ConfigError, match="box is 64 voxels, but the images have 48"):
        reconstructed(noisy, box=64)
    with pytest.raises(ConfigError, match="diameter is 500"):
        reconstructed(noisy, diameter=500.0)
    with pytest.raises(ConfigError, match=r"diameter is 3 Å, 0\.8 voxels"):
        reconstructed(noisy, diameter=3.0)
    with pytest.raises(ParticleError, match="at least 2 images"):
        reconstructed(noisy, np.array([3]))
    table = read_particles(noisy.particles, poses="ignored")
    with pytest.raises(ParticleError, match="no poses"):
        reconstructed(noisy, table=table)


def test_a_given_mask_must_be_on_the_grid_of_the_map(noisy, tmp_path):
    def attempt(box, pixel_size, highest):
        ramp = np.linspace(0, highest, box**3, dtype=np.float32).reshape(box, box, box)
        write_map(tmp_path / "mask.mrc", ramp, pixel_size)
        settings = BackprojectionSettings(images=20, mask=tmp_path / "mask.mrc")
        return backproject([noisy.particles], tmp_path / "out", settings)

    with pytest.raises(MapError, match="32 x 32 x 32 voxels of 4 Å, the map 48"):
        attempt(32, 4.0, 1.0)
    with pytest.raises(MapError, match="voxels of 3 Å"):
        attempt(48, 3.0, 1.0)
    with pytest.raises(MapError, match="from 0 to 1, this file has 0 to 7"):
        attempt(48, 4.0, 7.0)
    with pytest.raises(MapError, match="too few for a correlation"):
        attempt(48, 4.0, 0.001)
    assert not (tmp_path / "out").exists()
    assert attempt(48, 4.0, 1.0).mask.note == "mask: as given"


@pytest.mark.slow
def test_two_processes_find_what_one_does(noisy, tmp_path):
    table = read_particles(noisy.particles)
    write_star(tmp_path / "some.star", table[np.arange(301)])
    arguments = ["-m", "cryosphere", "backproject", "--particles", "some.star", "--datadir", str(noisy.folder)]
    launchers = {"one": [], "two": ["-m", "torch.distributed.run", "--nproc-per-node=2"]}
    found = {}
    for name, launcher in launchers.items():
        command = [sys.executable, *launcher, *arguments, "--outdir", name, "--device", "cpu"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("at 0.143") == 1
        assert {path.name for path in (tmp_path / name).iterdir()} == set(FILES)
        with mrcfile.open(tmp_path / name / "map.mrc") as file:
            found[name] = np.array(file.data)
    # sums of single precision in another order
    assert np.allclose(found["one"], found["two"], atol=1e-4 * np.abs(found["one"]).max())
    curve = [volume_spectra(torch.from_numpy(found[name])[None]) for name in launchers]
    assert shell_correlations(*curve).min() > 0.9999
