"""The whole analysis, from a run with a known motion to the report."""

from __future__ import annotations

import re
from dataclasses import replace

import gemmi
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.analysis import findings
from cryosphere.analysis.analyze import AnalysisSettings, analyze
from cryosphere.analysis.findings import HeldOutFit, correlations, warnings
from cryosphere.errors import InputError

GENERATOR = np.random.default_rng(11)
COUNT = 300
Z = np.stack([GENERATOR.uniform(-0.6, 0.6, COUNT), GENERATOR.normal(size=COUNT) * 0.05], axis=1)
QUICK = AnalysisSettings(points=5, clusters=3)
AXES = ["axis_x", "axis_y", "axis_z"]
SHIFT = ["translation_x", "translation_y", "translation_z"]


@pytest.fixture(scope="module")
def analysed(tmp_path_factory, build_run):
    """One full analysis, the whole molecule drifting with the latent, that the tests of this file only read."""
    run = build_run(tmp_path_factory.mktemp("runs") / "run <b>1", Z, drift=0.8, validation_rows=np.arange(0, COUNT, 10))
    return run, analyze(run, settings=QUICK)


def places(structure: gemmi.Model) -> np.ndarray:
    return np.array([[*site.atom.pos] for site in structure.all()])


def test_latents_are_written_in_the_order_of_the_input(analysed):
    assert np.load(analysed[1] / "z.npy") == pytest.approx(Z.astype(np.float32))


def test_segments_are_told_by_chain_and_author_residue_numbers(analysed):
    table = pd.read_csv(analysed[1] / "segments.csv")
    assert table["ranges"].fillna("").tolist() == ["A:5..64", "A:65..104 A:900(HEM)", ""]
    assert table["residues"].tolist() == [60, 41, 0]
    residues = pd.read_csv(analysed[1] / "segments_per_residue.csv")
    assert residues["residue"].tolist() == [*range(5, 105), 900]
    assert residues["segment"].tolist() == [1] * 60 + [2] * 41


def test_the_known_hinge_stands_in_the_relative_motions(analysed):
    table = pd.read_csv(analysed[1] / "motions_relative.csv")
    assert len(table) == COUNT * 3
    second = table[table["segment"] == 2]
    assert second["image"].tolist() == list(range(COUNT))
    assert second["angle"].to_numpy() == pytest.approx(np.degrees(np.abs(Z[:, 0])), abs=1e-3)
    clear = second["angle"].to_numpy() > 1.0  # the axis of a tiny turn is lost in float32
    assert second[AXES].to_numpy()[clear] == pytest.approx(np.sign(Z[clear, :1]) * [0.0, 1.0, 0.0], abs=1e-3)
    centre = (
        pd.read_csv(analysed[1] / "segments.csv")
        .loc[1, ["centre_x", "centre_y", "centre_z"]]
        .to_numpy(float, copy=True)
    )
    expected = Rotation.from_rotvec(Z[:, :1] * [0.0, 1.0, 0.0]).apply(centre) - centre
    expected[:, 0] += Z[:, 1]
    assert second[SHIFT].to_numpy() == pytest.approx(expected, abs=2e-3)  # three decimals, and of the centre too


def test_the_drift_of_the_whole_molecule_stands_in_the_absolute_motions_only(analysed):
    absolute = pd.read_csv(analysed[1] / "motions.csv")
    first = absolute[absolute["segment"] == 1]
    assert first["angle"].to_numpy() == pytest.approx(np.degrees(0.8 * np.abs(Z[:, 0])), abs=1e-3)
    relative = pd.read_csv(analysed[1] / "motions_relative.csv")
    assert relative.loc[relative["segment"] == 1, "angle"].to_numpy() == pytest.approx(0.0, abs=1e-3)


def test_the_first_traversal_holds_all_atoms_at_the_latents_beside_it(analysed):
    run, folder = analysed
    z = np.load(folder / "traversals" / "pc1_z.npy")
    structure = gemmi.read_structure(str(folder / "traversals" / "pc1.cif"))
    assert len(structure) == 5
    for model, expected in zip(structure, run.model.atom_positions(z), strict=True):
        assert places(model) == pytest.approx(expected, abs=1.1e-3)
    assert z[[0, -1], 0] == pytest.approx(np.percentile(Z[:, 0], (5, 95)), abs=0.01)
    assert {c.name for c in structure[0]} == {"A"}


def test_the_superposed_traversal_leaves_the_largest_body_where_the_model_has_it(analysed, model_of_two_domains):
    still = model_of_two_domains.atom_bead < 60
    frames = gemmi.read_structure(str(analysed[1] / "traversals" / "pc1_superposed.cif"))
    for frame in frames:
        assert places(frame)[still] == pytest.approx(model_of_two_domains.positions[still], abs=1.1e-3)
    apart = np.linalg.norm(places(frames[0])[~still] - places(frames[-1])[~still], axis=1)
    assert apart.mean() > 5.0  # a hinge of one radian, 14 Å from the axis on average


def test_residues_of_the_reference_do_not_move_and_the_others_do(analysed):
    table = pd.read_csv(analysed[1] / "movement.csv")
    assert table.loc[table["segment"] == 1, "rms_displacement"].max() < 1e-2
    assert table.loc[table["segment"] == 2, "rms_displacement"].mean() > 2.0  # 14 Å from the hinge, ±0.35 rad RMS


def test_the_report_needs_nothing_from_elsewhere(analysed):
    page = (analysed[1] / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r"src='([^']*)'", page))
    assert not re.search(r"https?://", page)
    assert "@import" not in page
    assert len(re.findall("<img ", page)) == 7


def test_what_comes_from_files_is_escaped_in_the_report(analysed):
    page = (analysed[1] / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "run &lt;b&gt;1" in page


def test_the_report_tells_the_known_motion_in_words(analysed):
    page = (analysed[1] / "report.html").read_text(encoding="utf-8")
    turned = np.degrees(np.ptp(np.percentile(Z[:, 0], (5, 95))))
    found = re.search(r"<b>S2</b> \(A 65–104, A 900 \(HEM\); 41 residues\) turns by ([\d.]+)°", page)
    assert found is not None
    assert float(found[1]) == pytest.approx(turned, abs=0.5)
    assert "300 images" in page


def test_every_linked_file_exists_and_every_file_is_linked(analysed):
    folder = analysed[1]
    links = set(re.findall(r"<a href='([^']*)'", (folder / "report.html").read_text(encoding="utf-8")))
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"report.html"}
    assert links == files


@pytest.mark.parametrize(("count", "latent"), [(1, 1), (2, 1), (2, 4), (5, 8)])
def test_a_handful_of_images_is_analysed_and_called_too_few(make_run, count, latent):
    folder = analyze(make_run(GENERATOR.normal(size=(count, latent)) * 0.2), settings=QUICK)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "too few to tell motion from noise" in page
    assert len(gemmi.read_structure(str(folder / "traversals" / "pc1.cif"))) == 5


def test_a_second_analysis_replaces_the_first_without_trace(make_run):
    run = make_run(Z[:5])
    folder = analyze(run, settings=QUICK)
    (folder / "stale.txt").write_text("from before")
    analyze(run, settings=QUICK)
    assert not (folder / "stale.txt").exists()
    assert sorted(p.name for p in run.path.iterdir()) == ["analysis", "config.yaml", "metrics.csv"]


def test_a_failing_analysis_leaves_the_earlier_one_as_it_was(make_run):
    run = make_run(Z[:5])
    before = (analyze(run, settings=QUICK) / "report.html").read_bytes()

    def fail(rows, z):
        raise RuntimeError("the images are gone")

    run.model.image_pairs = fail
    with pytest.raises(RuntimeError):
        analyze(run, settings=QUICK)
    assert (run.path / "analysis" / "report.html").read_bytes() == before
    assert sorted(p.name for p in run.path.iterdir()) == ["analysis", "config.yaml", "metrics.csv"]


def test_settings_that_make_no_sense_are_refused(make_run):
    with pytest.raises(InputError, match="at least 2 points"):
        analyze(make_run(Z[:5]), settings=AnalysisSettings(points=1))


@pytest.fixture(scope="module")
def sound(analysed):
    """Findings of the good run, to be spoilt one way at a time."""
    from cryosphere.analysis.analyze import _find
    from cryosphere.analysis.pca import principal_components
    from cryosphere.analysis.traversal import traverse

    run = analysed[0]
    components = principal_components(run.latents)
    return _find(run, components, [traverse(run.latents, components, 0)])


def test_a_motion_that_held_out_images_support_raises_no_doubt(sound):
    assert sound.fit.improved
    assert warnings(sound) == []


def test_overfitting_is_called_by_its_name(sound):
    metrics = sound.metrics.assign(validation_correlation=[0.19, 0.27, 0.25, 0.22])
    assert any("Overfitting" in doubt for doubt in warnings(replace(sound, metrics=metrics)))


def test_no_gain_on_held_out_images_is_said(sound):
    fit = HeldOutFit(deformed=0.300, undeformed=0.299, gain_error=0.002, images=15)
    assert any("not predicted better" in doubt for doubt in warnings(replace(sound, fit=fit)))


def test_a_model_that_is_not_in_the_images_is_said(sound):
    fit = HeldOutFit(deformed=0.30, undeformed=0.10, gain_error=0.001, images=50)
    doubts = warnings(replace(sound, fit=fit))
    assert any("does not look like the images" in doubt and "wrong model" in doubt for doubt in doubts)
    assert warnings(replace(sound, fit=replace(fit, undeformed=0.13))) == []  # 43 %: the limit is 40 %


def test_without_held_out_images_the_undeformed_model_is_judged_by_the_training_images(sound):
    spoilt = replace(sound, fit=None, base_correlation=0.02)  # the last epoch reached 0.32
    assert any("does not look like the images" in doubt for doubt in warnings(spoilt))


def test_negative_correlations_are_said(sound):
    fit = HeldOutFit(deformed=-0.02, undeformed=-0.05, gain_error=0.001, images=50)
    assert any("correlate negatively" in doubt for doubt in warnings(replace(sound, fit=fit)))
    assert any("contrast is likely wrong" in doubt for doubt in warnings(replace(sound, base_correlation=-0.1)))


def test_doubts_noted_before_training_are_repeated_and_other_notes_are_not(sound):
    notes = ("box: the images' own 64 pixels", "contrast: white. 8 images do not show the model clearly enough")
    doubts = warnings(replace(sound, notes=notes))
    assert doubts == [f"Noted before training: {notes[1]}."]


def test_the_longest_bond_lies_where_the_segments_meet(sound):
    assert sound.bonds.longest_between == (59, 60)  # the hinge cuts the chain after residue 60 of the model
    assert sound.bonds.base == pytest.approx((3.8, 3.8))  # steps of the walk
    assert sound.bonds.ends[1] > 4.0


def test_images_can_be_selected_by_the_names_of_the_particle_file(analysed):
    table = pd.read_csv(analysed[1] / "pca.csv")
    assert table["image_name"].tolist() == [f"{k + 1:06d}@particles.mrcs" for k in range(COUNT)]


def test_chimerax_is_told_to_open_the_traversal_and_to_colour_the_segments(analysed):
    lines = (analysed[1] / "segments.cxc").read_text().splitlines()
    assert lines[1] == "open traversals/pc1_superposed.cif coordsets true"
    assert lines[3:5] == ["color /A:5-64 #0072b2", "color /A:65-104,900 #e69f00"]


def test_no_literal_back_quotes_in_the_list_of_files(analysed):
    page = (analysed[1] / "report.html").read_text(encoding="utf-8")
    assert "<code>open pc1_superposed.cif coordsets true</code>" in page
    assert "`" not in page


def test_the_report_says_that_structures_are_no_refined_models(analysed):
    page = (analysed[1] / "report.html").read_text(encoding="utf-8")
    assert "the longest between A ALA 64 and A ALA 65" in page
    assert "Regularise the geometry" in page
    assert "mean correlation with 30 held-out images" in page


def test_a_handful_of_held_out_images_proves_nothing(sound):
    fit = HeldOutFit(deformed=0.4, undeformed=0.2, gain_error=0.001, images=2)
    assert not fit.improved
    assert any("all but 2 of the images" in doubt for doubt in warnings(replace(sound, fit=fit)))


def test_motion_below_what_pixels_show_is_said(sound):
    still = replace(sound.along_pc1, residue_rms=sound.along_pc1.residue_rms * 0.01)
    assert any("Treat the molecule as rigid" in doubt for doubt in warnings(replace(sound, along_pc1=still)))


def test_collapsed_and_uncertain_latents_are_told_apart(sound):
    assert any("collapsed" in doubt for doubt in warnings(replace(sound, certainty=0.02)))
    assert any("mostly a guess" in doubt for doubt in warnings(replace(sound, certainty=0.6)))


def test_correlation_is_that_of_numpy():
    first, second = GENERATOR.normal(size=(2, 3, 8, 8))
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first, second, strict=True)]
    assert correlations(first, second) == pytest.approx(expected)
    assert correlations(np.ones((1, 8, 8)), second[:1]) == pytest.approx([0.0])


def test_a_motion_that_one_structure_beats_is_doubted() -> None:
    beaten = pd.DataFrame({"epoch": [1, 2], "validation_gain": [0.4, -0.25]})
    assert "by 0.25 nats" in findings._not_worth_its_cost(beaten)
    for fine in (beaten.iloc[:1], pd.DataFrame({"epoch": [1]}), pd.DataFrame({"validation_gain": [""]})):
        assert findings._not_worth_its_cost(fine) == ""
