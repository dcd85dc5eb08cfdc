"""RELION as the oracle: a one-atom model must be projected to where RELION projected one bright voxel.

RELION's own `relion_project --ctf` made the images from voxel [z, y, x] = [32, 32, 49] of a 64³ map at 3.54 Å, which is
the point ((49 - 32) · 3.54, 0, 0) = (60.18, 0, 0) Å, with 24 poses, shifts and CTFs of a real refinement. And back:
a map of these images must have its brightest voxel there.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import mrcfile
import numpy as np
import pytest

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.reconstruction import ReconstructionSettings, reconstruct_particles
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.simulation.rendering import Renderer

POINT = np.array([[60.18, 0.0, 0.0]])


@pytest.fixture
def pointmass(shared_data):
    return shared_data / "relion" / "pointmass"


@pytest.fixture
def relion_images(pointmass):
    with mrcfile.open(pointmass / "relion_proj_batch_pfac2.mrcs", permissive=True) as stack:
        return np.array(stack.data, dtype=np.float64)


def correlations(first, second):
    return np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first, second, strict=True)])


def rendered(pointmass, *, change=lambda table: table, ctf=True):
    table = change(read_particles(pointmass / "relion_proj_batch_pfac2.star"))
    renderer = Renderer(table, np.array([6.0]), ImageGrid(64, 3.54), sigma=2.0, ctf=ctf)
    return renderer.images(np.arange(len(table)), POINT)


def test_the_project_command_agrees_with_relion(pointmass, relion_images, tmp_path):
    model = tmp_path / "point.pdb"
    model.write_text("HETATM    1  C   LIG A   1      60.180   0.000   0.000  1.00  0.00           C\nEND\n")
    output = tmp_path / "projections.mrcs"
    star = pointmass / "relion_proj_batch_pfac2.star"
    command = [sys.executable, "-m", "cryosphere", "project"]
    command += map(str, ["--model", model, "--particles", star, "--output", output])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with mrcfile.open(output) as stack:
        found = correlations(stack.data, relion_images)
        assert stack.voxel_size.x == pytest.approx(3.54)
    # 1 is out of reach: RELION's point is an interpolated voxel, ours a Gaussian of 2 Å
    assert np.median(found) >= 0.8
    assert found.min() >= 0.8


def test_the_opposite_shift_sign_does_not_agree(pointmass, relion_images):
    images = rendered(pointmass, change=lambda table: replace(table, shifts=-table.shifts))
    assert abs(np.median(correlations(images, relion_images))) < 0.1


def test_the_transposed_rotation_does_not_agree(pointmass, relion_images):
    images = rendered(pointmass, change=lambda table: replace(table, rotations=table.rotations.swapaxes(1, 2)))
    assert abs(np.median(correlations(images, relion_images))) < 0.1


def test_the_inverted_ctf_anticorrelates(pointmass, relion_images):
    assert np.median(correlations(-rendered(pointmass), relion_images)) <= -0.8


def test_the_astigmatism_axis_is_relions(pointmass, relion_images):
    right = correlations(rendered(pointmass), relion_images)
    turned = lambda table: replace(table, defocus_angle=table.defocus_angle + np.pi / 2)  # noqa: E731
    assert np.median(right - correlations(rendered(pointmass, change=turned), relion_images)) > 0


def test_without_ctf_the_peak_is_where_the_convention_puts_it(pointmass):
    table = read_particles(pointmass / "relion_proj_batch_pfac2.star")
    seen = (table.rotations @ POINT[0])[:, :2] - table.shifts
    images = rendered(pointmass, ctf=False)
    peaks = np.array([np.unravel_index(image.argmax(), image.shape)[::-1] for image in images])
    # the brightest pixel is the nearest one to the point: half a pixel at most in x and y
    assert np.abs((peaks - 32) * 3.54 - seen).max() <= 0.5 * 3.54 + 1e-3


@pytest.mark.parametrize("box", [64, 33])
def test_the_map_of_relions_projections_has_its_point_where_relions_map_has_it(pointmass, box):
    table = read_particles(pointmass / "relion_proj_batch_pfac2.star")
    settings = ReconstructionSettings(box=box, device="cpu")
    found = reconstruct_particles(table, ImageStacks(table, pointmass), settings=settings)
    with mrcfile.open(pointmass / "pointmass.mrc", permissive=True) as file:
        brightest = np.unravel_index(file.data.argmax(), file.data.shape)
    assert brightest == (32, 32, 49)
    place = np.argwhere(found.map == found.map.max())[0] - box // 2
    assert np.abs(place * found.grid.pixel_size - (np.array(brightest) - 32) * 3.54).max() <= found.grid.pixel_size / 2
    assert found.contrast == "white"
