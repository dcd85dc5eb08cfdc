"""Simulated sets: files that other rooms read, noise of the right strength, nothing half-written."""

from __future__ import annotations

from dataclasses import fields

import mrcfile
import numpy as np
import pytest

from cryosphere.errors import RunError, StructureError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.particles.read import read_particles
from cryosphere.settings import read_yaml, validate
from cryosphere.simulation import rendering
from cryosphere.simulation.config import SimulationConfig, load_simulation
from cryosphere.simulation.rendering import Renderer
from cryosphere.simulation.simulate import simulate
from cryosphere.simulation.truth import load_truth
from cryosphere.structures.model import read_model

from .conftest import configuration, hinge_config

FILES = {"particles.star", "particles.mrcs", "truth.npz", "model.cif", "simulation.yaml"}


def stack(folder):
    with mrcfile.open(folder / "particles.mrcs") as file:
        return np.array(file.data)


def noiseless(simulation):
    """The images before noise, made anew from the truth file."""
    truth = simulation.truth
    grid = ImageGrid(truth.box, truth.pixel_size)
    renderer = Renderer(simulation.table, truth.amplitudes, grid, sigma=truth.bead_sigma, ctf=True)
    rows = np.arange(len(simulation.table))
    return truth.sign * renderer.images(rows, truth.positions(rows))


def test_a_simulation_is_five_files_and_nothing_else(protein, tmp_path):
    simulation = simulate(hinge_config(protein), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert simulation.particles.is_file() and simulation.model.is_file() and simulation.truth_path.is_file()


@pytest.mark.parametrize("box", [32, 33])
def test_the_star_file_says_what_was_simulated(protein, tmp_path, box):
    simulation = simulate(hinge_config(protein, box=box), tmp_path / "out")
    table = read_particles(simulation.particles)
    truth = load_truth(simulation.truth_path)
    assert table.stacks == ("particles.mrcs",)
    assert np.array_equal(table.image_index, np.arange(40))
    assert (table.pixel_size, table.optics[0].box) == (2.0, box)
    assert table.rotations == pytest.approx(truth.rotations, abs=1e-6)
    assert table.shifts == pytest.approx(truth.shifts, abs=1e-6)
    assert np.unique(table.defocus_u) == pytest.approx([15301.1])
    assert stack(tmp_path / "out").shape == (40, box, box)


def test_the_model_written_has_the_truths_beads_at_the_centre(protein, tmp_path):
    simulation = simulate(hinge_config(protein), tmp_path / "out")
    beads = read_model(simulation.model).beads
    assert beads.positions == pytest.approx(simulation.truth.base_positions, abs=6e-4)  # mmCIF has three decimals
    assert beads.positions.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-3)
    assert np.array_equal(beads.chain, simulation.truth.chain)
    assert np.array_equal(beads.number, simulation.truth.residue_number)


def test_as_is_leaves_the_model_where_it_was(protein, tmp_path):
    config = hinge_config(protein, box=64).model_copy(update={"placement": "as-is"})
    truth = simulate(config, tmp_path / "out").truth
    assert truth.base_positions == pytest.approx(read_model(protein).beads.positions)


def test_the_truth_file_keeps_every_array(protein, tmp_path):
    simulation = simulate(hinge_config(protein), tmp_path / "out")
    read = load_truth(simulation.truth_path)
    for field in fields(read):
        assert np.array_equal(getattr(read, field.name), getattr(simulation.truth, field.name)), field.name


def test_every_conformation_is_shown_equally_often(protein, tmp_path):
    truth = simulate(hinge_config(protein), tmp_path / "out").truth
    counts = np.bincount(truth.conformation_index)
    assert len(counts) == 7
    assert counts.min() == 40 // 7 and counts.max() == 40 // 7 + 1
    assert not np.array_equal(truth.conformation_index, np.sort(truth.conformation_index))


def test_more_conformations_than_images_are_told(protein, tmp_path, caplog):
    caplog.set_level("INFO", "cryosphere")
    made = simulate(hinge_config(protein, count=5), tmp_path / "out")
    assert "only 5 images for 7 conformations: only 5 are drawn" in caplog.text
    assert "5 images of 5 conformations" in caplog.text
    assert len(made.truth.conformations) == 5


@pytest.mark.parametrize("snr", [2.0, 0.1])
def test_snr_is_the_ratio_of_variances_over_whole_images(protein, tmp_path, snr):
    simulation = simulate(hinge_config(protein, snr=snr, count=200), tmp_path / "out")
    signal = noiseless(simulation)
    noise = stack(tmp_path / "out") - signal
    # 200 × 32² pixels: the noise variance is known to √(2/204800) = 0.3 %
    assert signal.var(dtype=np.float64) / noise.var(dtype=np.float64) == pytest.approx(snr, rel=0.015)
    assert noise.std(dtype=np.float64) == pytest.approx(simulation.truth.noise_sd, rel=0.01)


def test_the_noise_is_white_and_differs_between_images(protein, tmp_path):
    simulation = simulate(hinge_config(protein, count=200), tmp_path / "out")
    noise = (stack(tmp_path / "out") - noiseless(simulation)) / simulation.truth.noise_sd
    tolerance = 5 / np.sqrt(noise.size)  # five standard errors of a correlation
    assert abs((noise[:, :, 1:] * noise[:, :, :-1]).mean()) < tolerance
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < tolerance
    assert abs((noise[1:] * noise[:-1]).mean()) < tolerance


def test_black_contrast_inverts_the_protein_and_not_the_noise(protein, tmp_path):
    white = simulate(hinge_config(protein), tmp_path / "white")
    black = simulate(hinge_config(protein, contrast="black"), tmp_path / "black")
    assert (white.truth.sign, black.truth.sign) == (1.0, -1.0)
    difference = stack(tmp_path / "white") - stack(tmp_path / "black")
    assert np.allclose(difference, 2 * noiseless(white), rtol=0, atol=1e-5 * np.abs(difference).max())  # float32


def test_images_do_not_depend_on_how_many_are_made_at_a_time(protein, tmp_path, monkeypatch):
    many = simulate(hinge_config(protein), tmp_path / "many")
    monkeypatch.setattr(rendering, "_NUMBERS_AT_ONCE", 3 * ((2 * 32) ** 2 + 64 * 40))  # three images
    few = simulate(hinge_config(protein), tmp_path / "few")
    assert np.array_equal(many.truth.rotations, few.truth.rotations)
    assert np.array_equal(many.truth.conformations, few.truth.conformations)
    # single precision sums of the images may differ in the last digit; the noise is the same
    difference = stack(tmp_path / "few") - stack(tmp_path / "many")
    assert np.abs(difference).max() < 1e-5 * many.truth.noise_sd


def test_the_same_seed_gives_the_same_files_and_another_seed_others(protein, tmp_path):
    config = hinge_config(protein)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate(config.model_copy(update={"seed": seed}), tmp_path / name)
    assert np.array_equal(stack(tmp_path / "a"), stack(tmp_path / "b"))
    assert not np.any(stack(tmp_path / "a") == stack(tmp_path / "c"))


def test_each_setting_of_the_images_changes_them(protein, tmp_path):
    base = simulate(hinge_config(protein), tmp_path / "base").truth
    assert np.abs(base.shifts).max() <= 4.0
    assert np.abs(simulate(hinge_config(protein, shift=0.0), tmp_path / "0").truth.shifts).max() == 0
    wide = simulate(hinge_config(protein, bead_sigma=4.0), tmp_path / "wide").truth
    assert wide.signal_variance < 0.8 * base.signal_variance


def test_defocus_is_drawn_from_the_ranges(protein, tmp_path):
    ctf = {"kind": "distribution", "defocus": [8000, 12000], "astigmatism": [100, 300]}
    values = hinge_config(protein, count=300).model_dump() | {"ctf": ctf}
    table = simulate(configuration(values), tmp_path / "out").table
    mean, difference = (table.defocus_u + table.defocus_v) / 2, table.defocus_u - table.defocus_v
    for drawn, low, high in ((mean, 8000, 12000), (difference, 100, 300), (table.defocus_angle, 0, np.pi)):
        assert low <= drawn.min() < low + 0.05 * (high - low)  # of 300 draws some lie near either end
        assert high - 0.05 * (high - low) < drawn.max() <= high


def test_poses_are_uniform_on_the_sphere(protein, tmp_path):
    rotations = simulate(hinge_config(protein, count=2000), tmp_path / "out").truth.rotations
    directions = rotations[:, 2]  # the axis seen along z
    assert directions.mean(axis=0) == pytest.approx([0, 0, 0], abs=5 / np.sqrt(3 * 2000))
    assert (directions**2).mean(axis=0) == pytest.approx([1 / 3] * 3, abs=5 * 0.298 / np.sqrt(2000))


def test_the_configuration_is_kept_and_makes_the_same_images_again(protein, tmp_path):
    simulate(hinge_config(protein), tmp_path / "first")
    again = load_simulation(tmp_path / "first" / "simulation.yaml")
    simulate(again, tmp_path / "second")
    assert np.array_equal(stack(tmp_path / "first"), stack(tmp_path / "second"))
    assert read_yaml(tmp_path / "first" / "simulation.yaml")["images"]["snr"] == 0.5


def test_a_folder_that_holds_a_simulation_is_left_alone_unless_told(protein, tmp_path):
    simulate(hinge_config(protein), tmp_path / "out")
    before = stack(tmp_path / "out")
    with pytest.raises(RunError, match=r"particles\.mrcs"):
        simulate(hinge_config(protein, snr=9.0), tmp_path / "out")
    assert np.array_equal(stack(tmp_path / "out"), before)
    simulate(hinge_config(protein, snr=9.0), tmp_path / "out", overwrite=True)
    assert not np.array_equal(stack(tmp_path / "out"), before)


def test_a_model_outside_the_box_is_refused_and_nothing_is_left(protein, tmp_path):
    config = hinge_config(protein, box=8)
    with pytest.raises(StructureError, match="box"):
        simulate(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_conformations_that_leave_the_box_are_told(protein, tmp_path, caplog):
    turn = {"kind": "uniform", "low_degrees": 0, "high_degrees": 90}
    hinge = {"residues": [{"chain": "B"}], "axis": [0, 0, 1], "pivot": [60, 0, 0]}
    motion = {"kind": "hinge", "domains": [hinge], "angles": turn, "conformations": 5}
    images = {"count": 10, "box": 32, "pixel_size": 3.0}
    values = {"model": protein, "motion": motion, "images": images}
    simulate(validate(SimulationConfig, values, origin="the test"), tmp_path / "data")
    assert "reach up to" in caplog.text
