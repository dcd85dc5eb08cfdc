"""Whether intervals are found right, too narrow or too wide where they are known to be so."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from cryosphere.evaluation.calibration import LEVELS, Claims, calibrate
from cryosphere.evaluation.calibration_page import calibration_section, is_right
from cryosphere.evaluation.evaluate import evaluate
from cryosphere.evaluation.figures import Figure
from cryosphere.evaluation.pictures.calibration import coverage_curves
from cryosphere.training.model_error import ModelError

IMAGES, RESIDUES = 3000, 4
LENGTH = Figure("length", "Å", lambda x: x[:, 3, 0].astype(np.float64))


class Line:
    """Residue k lies k times the latent along x."""

    def bead_positions(self, z):
        return np.asarray(z)[:, :1, None] * np.arange(RESIDUES)[None, :, None] * np.array([1.0, 0.0, 0.0])


def truth_of(z, jitter=0.0, absent=()):
    generator = np.random.default_rng(5)
    positions = Line().bead_positions(z)
    positions = positions + jitter * generator.normal(size=positions.shape)
    present = np.ones(RESIDUES, dtype=bool)
    present[list(absent)] = False
    return SimpleNamespace(
        amplitudes=np.ones(RESIDUES),
        positions=lambda rows: positions[rows],
        present=lambda rows: np.broadcast_to(present, (len(rows), RESIDUES)),
    )


def calibration(said=0.1, error=None, jitter=0.0, absent=()):
    """Latents that are off by 0.1, of which is said that they are off by `said`."""
    generator = np.random.default_rng(3)
    true = generator.normal(size=(IMAGES, 1))
    latents = SimpleNamespace(mean=true + 0.1 * generator.normal(size=true.shape), sd=np.full_like(true, said))
    rows = np.arange(IMAGES)
    return calibrate(Line(), truth_of(true, jitter, absent), Claims(latents, error), [LENGTH], rows)


def test_intervals_that_are_right_hold_the_truth_as_often_as_they_say():
    for coverage in calibration(absent=(0,)).coverages:  # residue 0 never moves
        np.testing.assert_allclose(coverage.inside, LEVELS, atol=0.03)  # 3,000 images: 0.9 % and 0.4 %
        assert coverage.error == pytest.approx(coverage.sd, rel=0.05)
        assert is_right(coverage)


@pytest.mark.parametrize(("said", "at_68"), [(0.05, 0.383), (0.2, 0.954)])
def test_intervals_half_or_twice_as_wide_are_found_out(said, at_68):
    coverage = calibration(said).coverages[0]
    assert coverage.inside[0] == pytest.approx(at_68, abs=0.03)  # the normal distribution at 0.5 and 2
    assert not is_right(coverage)


def test_the_structures_own_error_makes_up_for_what_latents_do_not_know():
    own = ModelError(np.arange(RESIDUES), 0.5 * np.eye(3 * RESIDUES).reshape(-1, RESIDUES, 3), np.zeros(RESIDUES), 1, 1)
    for coverage in calibration(error=own, jitter=0.5).coverages:
        np.testing.assert_allclose(coverage.inside, LEVELS, atol=0.03)
        assert coverage.latent_inside[0] < 0.5


def test_residues_that_an_image_lacks_do_not_count():
    assert calibration(jitter=0.0, absent=(1, 2, 3)).coverages[-1].error == 0.0


def test_the_section_counts_what_is_right_and_the_curves_are_drawn():
    found = calibration(absent=(0,))
    assert "2 of 2 figures" in calibration_section(found)
    assert "Too few images" in calibration_section(found)
    assert len(coverage_curves(found).axes) == 2


def test_an_evaluation_tells_how_often_the_truth_lies_within_the_intervals(run, data):
    result = evaluate(run, data.folder / "truth.npz", oracle_images=0, fsc_images=0, structure_images=20, device="cpu")
    assert result.calibration is not None
    assert result.calibration.images == 20
    stored = json.loads((run / "evaluation.json").read_text())["calibration"]
    assert stored["coverages"][-1]["name"] == "residues' places"
    page = (run / "evaluation" / "evaluation.html").read_text()
    assert "How sure, and how right" in page
    assert (run / "evaluation" / "calibration.png").is_file()
