"""Microscopes, B-factor and pose errors: what the files say, and what the images show."""

from __future__ import annotations

from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.imaging.grid import ImageGrid
from cryosphere.particles.read import read_particles
from cryosphere.simulation.acquisition import with_pose_errors
from cryosphere.simulation.image_config import PoseErrors
from cryosphere.simulation.rendering import Renderer
from cryosphere.simulation.simulate import simulate

from .conftest import configuration, hinge_config

TITAN = {"voltage_kv": 300, "spherical_aberration_mm": 2.7, "amplitude_contrast": 0.07, "share": 3}
ARCTICA = {"voltage_kv": 200, "spherical_aberration_mm": 1.4, "amplitude_contrast": 0.1}


def simulated(protein, folder, images=None, **sections):
    values = hinge_config(protein, **(images or {})).model_dump() | sections
    return simulate(configuration(values), folder)


def noiseless(simulation, table=None):
    truth = simulation.truth
    grid = ImageGrid(truth.box, truth.pixel_size)
    renderer = Renderer(table or simulation.table, truth.amplitudes, grid, sigma=truth.bead_sigma, ctf=True)
    return renderer.images(np.arange(len(simulation.table)), truth.positions(slice(None)))


def test_optics_groups_have_their_shares_and_reach_the_star_file(protein, tmp_path):
    made = simulated(protein, tmp_path / "out", optics=[TITAN, ARCTICA])
    table = read_particles(made.particles)
    assert np.bincount(table.optics_index).tolist() == [30, 10]
    assert not np.array_equal(table.optics_index, np.sort(table.optics_index))
    assert sorted(set(table.optics_column("voltage_kv"))) == [200, 300]
    assert [group.spherical_aberration_mm for group in table.optics] == [2.7, 1.4]


def test_each_image_is_taken_with_its_own_microscope(protein, tmp_path):
    mixed = simulated(protein, tmp_path / "mixed", optics=[TITAN, ARCTICA])
    for number, group in enumerate((TITAN, ARCTICA)):
        alone = noiseless(simulated(protein, tmp_path / str(number), optics=[group]))
        rows = mixed.table.optics_index == number
        assert noiseless(mixed)[rows] == pytest.approx(alone[rows], abs=1e-5 * float(alone.std()))


@pytest.mark.parametrize("ctf", [{"kind": "fixed"}, {"kind": "distribution"}])
def test_the_b_factor_damps_the_spectrum_as_its_definition_says(protein, tmp_path, ctf):
    sharp, blunt = (
        simulated(protein, tmp_path / str(b), {"snr": 1e12}, ctf=ctf | {"b_factor": b}) for b in (0.0, 150.0)
    )
    assert read_particles(blunt.particles).b_factor == pytest.approx(150.0)
    spectra = []
    for simulation in (sharp, blunt):
        with mrcfile.open(simulation.folder / "particles.mrcs") as stack:
            spectra.append(np.abs(np.fft.fft2(stack.data.astype(float))))
    frequency = np.fft.fftfreq(32, 2.0)
    squared = frequency[:, None] ** 2 + frequency**2
    strong = spectra[0] > 1e-3 * spectra[0].max()  # elsewhere single precision and the noise of 1e-6 tell
    expected = np.broadcast_to(np.exp(-150.0 * squared / 4), strong.shape)
    assert (spectra[1] / spectra[0])[strong] == pytest.approx(expected[strong], rel=0.01)


def test_pose_errors_are_as_large_as_asked(protein, tmp_path):
    made = simulated(
        protein, tmp_path / "out", {"count": 4000, "box": 16, "pixel_size": 5.0},
        pose_errors={"rotation_degrees": 2.0, "shift_angstrom": 1.5},
    )  # fmt: skip
    given, truth = read_particles(made.particles), made.truth
    angles = np.rad2deg(
        (Rotation.from_matrix(given.rotations) * Rotation.from_matrix(truth.rotations).inv()).magnitude()
    )
    # |N(0, s²)|: root mean square s, median 0.6745 s; of 4000, known to 1.1 % and 1.9 %
    assert np.sqrt(np.mean(angles**2)) == pytest.approx(2.0, rel=0.05)
    assert np.median(angles) == pytest.approx(0.6745 * 2.0, rel=0.08)
    off = given.shifts - truth.shifts
    assert off.std(axis=0) == pytest.approx([1.5, 1.5], rel=0.05)
    assert off.mean(axis=0) == pytest.approx([0, 0], abs=5 * 1.5 / np.sqrt(4000))


def test_axes_of_pose_errors_point_everywhere(protein, tmp_path):
    table = simulated(protein, tmp_path / "out", {"count": 2000, "box": 16, "pixel_size": 5.0}).table
    wrong = with_pose_errors(table, PoseErrors(rotation_degrees=5.0), np.random.default_rng(0))
    turns = Rotation.from_matrix(wrong.rotations @ table.rotations.swapaxes(-1, -2)).as_rotvec()
    axes = turns / np.linalg.norm(turns, axis=1, keepdims=True)
    assert (axes**2).mean(axis=0) == pytest.approx([1 / 3] * 3, abs=5 * 0.298 / np.sqrt(2000))


def test_images_show_the_true_poses_and_not_those_given_away(protein, tmp_path):
    errors = {"rotation_degrees": 20.0, "shift_angstrom": 3.0}
    made = simulated(protein, tmp_path / "wrong", {"snr": 1e12}, pose_errors=errors)
    right = simulated(protein, tmp_path / "right", {"snr": 1e12})
    with mrcfile.open(made.folder / "particles.mrcs") as a, mrcfile.open(right.folder / "particles.mrcs") as b:
        assert np.array_equal(a.data, b.data)
        true = replace(made.table, rotations=made.truth.rotations, shifts=made.truth.shifts)
        assert a.data == pytest.approx(noiseless(made, true), abs=1e-4 * float(a.data.std()))
    assert np.abs(made.truth.shifts - made.table.shifts).max() > 1.0


def test_snr_can_be_read_off_the_stack_alone(protein, tmp_path):
    # the same noise at two strengths: what the stacks differ in is noise, what they share is signal
    weak, strong = (simulated(protein, tmp_path / str(snr), {"count": 200, "snr": snr}) for snr in (0.5, 0.125))
    with mrcfile.open(weak.folder / "particles.mrcs") as a, mrcfile.open(strong.folder / "particles.mrcs") as b:
        noise = (b.data - a.data).astype(float)  # twice the noise, less once: the noise of the first
        signal = a.data - noise
    assert signal.var() / noise.var() == pytest.approx(0.5, rel=0.02)
