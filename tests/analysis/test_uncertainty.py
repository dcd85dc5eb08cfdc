"""How sure residues' places are, against sampling, in tables and in files."""

import gemmi
import numpy as np
import pytest

from cryosphere.analysis.analyze import AnalysisSettings, analyze
from cryosphere.analysis.structures import export_structures
from cryosphere.analysis.uncertainty import uncertainty_table
from cryosphere.training.model_error import ModelError
from cryosphere.training.spread import residue_sd, widened


def test_the_spread_of_a_residue_is_that_of_structures_drawn_from_the_posterior(make_run):
    run = make_run(np.zeros((1, 1)))
    found = residue_sd(run.model, np.array([[0.3]]), np.array([[0.1]]), None)[0]
    drawn = run.coordinates(z=np.random.default_rng(0).normal(0.3, 0.1, (4000, 1))).astype(np.float64)
    sampled = np.sqrt(np.square(drawn - drawn.mean(axis=0)).sum(axis=-1).mean(axis=0))
    assert sampled.max() > 1.5
    np.testing.assert_allclose(found, sampled, rtol=0.05, atol=1e-4)  # 4,000 draws: 1.1 %; the arc's bend: 0.5 %


def test_the_prior_is_not_widened_and_the_likelihood_is():
    error = ModelError(np.zeros(1, int), np.zeros((1, 1, 3)), np.zeros(1), 100, dispersion=4.0)
    np.testing.assert_allclose(widened(np.array([1.0]), error), 1.0)
    assert widened(np.array([0.01]), error) == pytest.approx(0.02, rel=1e-3)
    np.testing.assert_allclose(widened(np.array([0.0, 0.3]), None), [0.0, 0.3])


def test_an_error_is_read_back_as_it_was_written(tmp_path):
    error = ModelError(np.array([0, 0, 1]), np.ones((2, 2, 3)), np.array([0.5, 0.0]), 100, 1.2, 7)
    error.save(tmp_path / "error.npz")
    found = ModelError.load(tmp_path / "error.npz")
    np.testing.assert_allclose(found.residue_variance, [7.5, 7.5, 6.0])
    np.testing.assert_allclose(np.trace(found.covariances(), axis1=1, axis2=2), found.residue_variance)
    assert (found.step, found.images, found.dispersion) == (7, 100, 1.2)


def test_written_structures_hold_standard_deviations(make_run, tmp_path):
    run = make_run(np.array([[0.0], [0.4]]))
    export_structures(run, tmp_path / "out")
    export_structures(run, tmp_path / "out.npz")
    sd = np.load(tmp_path / "out.npz")["sd"]
    assert sd.shape == (2, len(run.model.atomic_model.beads))
    assert sd.dtype == np.float32
    written = gemmi.read_structure(str(tmp_path / "out" / "structure_000001.cif"))
    found = [atom.b_iso for chain in written[0] for residue in chain for atom in residue]
    np.testing.assert_allclose(found, sd[1][run.model.atomic_model.atom_bead], atol=0.0051)
    assert "standard deviation" in (tmp_path / "out" / "structure_000001.cif").read_text().splitlines()[0]


def test_the_table_adds_the_structures_own_error_to_what_latents_leave_open(make_run):
    run = make_run(np.linspace(-1, 1, 50)[:, None])
    alone = uncertainty_table(run)
    residues = len(run.segments)
    stretch = np.zeros(residues, dtype=np.int64)
    run.structure_error = ModelError(stretch, np.zeros((1, 1, 3)), np.array([3.0]), 100, 1.0)
    both = uncertainty_table(run)
    assert alone["sd_structure"].isna().all()
    np.testing.assert_allclose(both["sd_structure"], 3.0)
    np.testing.assert_allclose(both["sd_median"], np.sqrt(alone["sd_median"] ** 2 + 9), atol=0.002)
    assert (alone["sd_90"] >= alone["sd_median"]).all()


def b_factors(path):
    return [
        np.array([atom.b_iso for chain in model for residue in chain for atom in residue])
        for model in gemmi.read_structure(str(path))
    ]


def test_structures_at_given_latents_hold_the_error_of_the_structures_alone(make_run, tmp_path):
    run = make_run(np.array([[0.0], [0.4]]))
    stretch = np.zeros(len(run.segments), dtype=np.int64)
    run.structure_error = ModelError(stretch, np.zeros((1, 1, 3)), np.array([3.0]), 100, 1.0)
    export_structures(run, tmp_path / "given", z=np.array([[0.2]]))
    np.testing.assert_allclose(b_factors(tmp_path / "given" / "structure_000000.cif")[0], 3.0)


def test_where_nothing_is_known_the_b_factors_stay_the_inputs_and_the_file_says_so(make_run, tmp_path):
    run = make_run(np.array([[0.0], [0.4]]))
    assert run.structure_error is None
    for name in ("given", "given.npz"):
        export_structures(run, tmp_path / name, z=np.array([[0.2]]))
    path = tmp_path / "given" / "structure_000000.cif"
    np.testing.assert_allclose(b_factors(path)[0], 20.0)
    assert "too few images" in path.read_text().splitlines()[0]
    assert np.isnan(np.load(tmp_path / "given.npz")["sd"]).all()


def test_traversals_and_clusters_hold_standard_deviations(make_run):
    run = make_run(np.linspace(-1, 1, 50)[:, None])
    stretch = np.zeros(len(run.segments), dtype=np.int64)
    run.structure_error = ModelError(stretch, np.zeros((1, 1, 3)), np.array([3.0]), 100, 1.0)
    folder = analyze(run, settings=AnalysisSettings(points=3, clusters=2))
    for name in ("pc1", "pc1_superposed"):
        for found in b_factors(folder / "traversals" / f"{name}.cif"):
            np.testing.assert_allclose(found, 3.0)
    (of_image,) = b_factors(folder / "clusters" / "cluster_01.cif")
    assert (of_image >= 3.0).all()
    assert of_image.max() > 3.02  # the image does not settle its latent
