"""Projections of a model for the particles of a file: right size, right header, clear refusals."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest

from cryosphere.errors import ConfigError, ImageStackError, ParticleError, StructureError
from cryosphere.simulation.project import ProjectionSettings, project_particles
from cryosphere.simulation.simulate import simulate

from .conftest import hinge_config


@pytest.fixture
def simulated(protein, tmp_path):
    return simulate(hinge_config(protein, count=6), tmp_path / "simulated")


def projected(simulated, output, **settings):
    project_particles(simulated.model, [simulated.particles], output, ProjectionSettings(**settings))
    with mrcfile.open(output) as stack:
        return np.array(stack.data), float(stack.voxel_size.x)


def test_box_and_pixel_size_come_from_the_particle_file(simulated, tmp_path):
    images, pixel_size = projected(simulated, tmp_path / "p.mrcs")
    assert images.shape == (6, 32, 32)
    assert pixel_size == 2.0


@pytest.mark.parametrize("box", [24, 45])
def test_box_and_pixel_size_can_be_given(simulated, tmp_path, box):
    images, pixel_size = projected(simulated, tmp_path / "p.mrcs", box=box, pixel_size=3.0)
    assert images.shape == (6, box, box)
    assert pixel_size == 3.0


def test_without_ctf_an_image_holds_all_electrons_of_the_model(simulated, tmp_path):
    with_ctf, _ = projected(simulated, tmp_path / "ctf.mrcs", box=64)
    without, _ = projected(simulated, tmp_path / "no_ctf.mrcs", box=64, ctf="omit")
    electrons = simulated.truth.amplitudes.sum()
    assert without.sum(axis=(1, 2)) == pytest.approx([electrons] * 6, rel=1e-4)
    # the CTF at zero frequency is the amplitude contrast
    assert with_ctf.sum(axis=(1, 2)) == pytest.approx([0.07 * electrons] * 6, rel=1e-3)


def test_an_output_that_exists_is_left_alone_unless_told(simulated, tmp_path):
    output = tmp_path / "p.mrcs"
    output.write_text("mine")
    with pytest.raises(ImageStackError, match="exists"):
        project_particles(simulated.model, [simulated.particles], output)
    assert output.read_text() == "mine"
    project_particles(simulated.model, [simulated.particles], output, overwrite=True)
    assert output.stat().st_size == 1024 + 6 * 32 * 32 * 4


@pytest.mark.parametrize("settings", [{"pixel_size": -1.0}, {"pixel_size": float("nan")}, {"box": 0}])
def test_impossible_sizes_are_refused(simulated, tmp_path, settings):
    with pytest.raises(ConfigError, match="must be positive"):
        projected(simulated, tmp_path / "p.mrcs", **settings)
    assert not (tmp_path / "p.mrcs").exists()


def test_a_model_far_from_the_box_centre_is_refused_with_the_shift_that_mends_it(simulated, protein, tmp_path):
    lines = [
        line[:30] + f"{float(line[30:38]) + 500:8.3f}" + line[38:] if line.startswith("ATOM") else line
        for line in protein.read_text().splitlines(keepends=True)
    ]
    protein.write_text("".join(lines))
    with pytest.raises(StructureError, match="-51"):  # the two helices' centre is at x = 512.5
        project_particles(protein, [simulated.particles], tmp_path / "p.mrcs")


@pytest.fixture
def without_box(simulated):
    """The simulated particles' file as one that does not say how many pixels its images have."""
    text = simulated.particles.read_text()
    renamed = text.replace("_rlnImageSize", "_rlnUnknownColumn")
    assert renamed != text
    simulated.particles.write_text(renamed)
    return simulated


def test_without_a_box_in_the_file_the_first_stack_says_it(without_box, tmp_path, caplog):
    caplog.set_level("INFO", "cryosphere")
    images, _ = projected(without_box, tmp_path / "p.mrcs")
    assert images.shape == (6, 32, 32)
    assert "its stacks have 32" in caplog.text


def test_the_stack_that_says_the_box_is_looked_for_in_datadir(without_box, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (without_box.folder / "particles.mrcs").rename(elsewhere / "particles.mrcs")
    with pytest.raises(ParticleError, match=r"1 stack\(s\), such as particles.mrcs, was found"):
        projected(without_box, tmp_path / "p.mrcs")
    with pytest.raises(ImageStackError, match="does not exist"):
        projected(without_box, tmp_path / "p.mrcs", datadir=tmp_path / "gone")
    images, _ = projected(without_box, tmp_path / "p.mrcs", datadir=elsewhere)
    assert images.shape == (6, 32, 32)


def test_a_particle_file_without_box_asks_for_it(shared_data, protein, tmp_path):
    there = shared_data / "relion" / "aspire" / "sample_particles_relion30.star"
    star = tmp_path / there.name  # without the stack that lies beside it there
    star.write_text(there.read_text())
    with pytest.raises(ParticleError, match="--box"):
        project_particles(protein, [star], tmp_path / "p.mrcs")
    project_particles(protein, [star], tmp_path / "p.mrcs", ProjectionSettings(box=200))
    with mrcfile.open(tmp_path / "p.mrcs") as stack:
        assert stack.data.shape == (17, 200, 200)
        assert stack.voxel_size.x == pytest.approx(1.338, abs=1e-3)  # magnification and detector pixel size
