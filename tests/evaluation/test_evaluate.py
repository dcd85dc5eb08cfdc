"""A run against the truth it was simulated from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from cryosphere.errors import ConfigError, InputError
from cryosphere.evaluation import evaluate as evaluation
from cryosphere.evaluation.domains import domains_of
from cryosphere.evaluation.evaluate import evaluate
from cryosphere.evaluation.wording import describe
from cryosphere.training.trained import TrainedModel

NAMED = ["TOP=A:61-100", "CORE=rest"]
QUICK = {"structure_images": 10, "fsc_images": 0, "device": "cpu"}


def refused(run, data, tmp_path, **changes):
    replace(data.truth, **changes).save(tmp_path / "truth.npz")
    with pytest.raises(InputError) as found:
        evaluate(run, tmp_path / "truth.npz", oracle_images=0, **QUICK)
    return str(found.value)


def test_an_evaluation_says_how_far_structures_are_from_the_truth(run, data):
    found = evaluate(run, data.truth_path, domains=NAMED, oracle_images=30, **QUICK)
    model = TrainedModel.load(run, device="cpu")
    predicted = model.bead_positions(model.encode().mean)
    true = data.truth.conformations[data.truth.conformation_index]
    assert found.images == 100
    assert found.deviation == pytest.approx(np.sqrt(((predicted - true) ** 2).sum(-1).mean(-1)).mean(), rel=1e-5)
    unmoved = np.sqrt(((data.truth.base_positions - true) ** 2).sum(-1).mean(-1)).mean()
    assert found.base_deviation == pytest.approx(unmoved, rel=1e-5)
    distance, angle = found.agreements
    assert (distance.name, angle.name) == ("TOP-CORE distance", "TOP-CORE angle")
    simulated = np.degrees(data.truth.parameters[data.truth.conformation_index, 0])
    assert angle.true_range == pytest.approx(tuple(np.percentile(simulated, [1, 99])), abs=1e-2)  # float32 positions
    assert angle.oracle_images == 30
    assert angle.oracle_correlation > 0.95  # signal as strong as noise: the conformation is plain to see
    assert sum(segment.residues for segment in found.segments) == 100
    assert "TOP (A:61-100; 40 residues)" in describe(found)


def test_evaluation_json_holds_what_was_found(run, data):
    found = evaluate(run, data.truth_path, oracle_images=5, structure_images=10, fsc_images=2, device="cpu")
    written = json.loads((run / "evaluation.json").read_text())
    assert written["deviation"] == pytest.approx(found.deviation)
    assert [one["name"] for one in written["agreements"]] == [
        "domain 1-rest distance",
        "domain 1-rest angle",
    ]
    assert set(written["segments"][0]) == {"segment", "residues", "ranges", "domains"}
    assert [tuple(one) for one in written["boundaries"]] == found.boundaries
    assert written["fsc"]["images"] == 2
    assert written["stereochemistry"]["images"] == written["lddt"]["images"] == 10
    assert written["agreements"][0]["correlation_ratio"] == pytest.approx(
        written["agreements"][0]["correlation_on_oracle_images"] / written["agreements"][0]["oracle_correlation"]
    )
    assert (run / "evaluation" / "evaluation.html").is_file()


def test_the_values_of_every_image_lie_beside_the_figures(run, data):
    found = evaluate(run, data.truth_path, oracle_images=5, **QUICK)
    with np.load(run / "evaluation" / "figures.npz", allow_pickle=False) as archive:
        values = dict(archive)
    assert values["names"].tolist() == [one.name for one in found.agreements]
    assert values["units"].tolist() == ["Å", "°"]
    assert values["predicted"].shape == values["true"].shape == (2, 100)
    assert values["oracle"].shape == (2, len(values["oracle_rows"])) == (2, 5)
    assert values["base"][1] == pytest.approx(0.0, abs=1e-6)  # the base structure has not turned
    for name in ("deviation", "aligned_deviation", "base_deviation", "base_aligned_deviation"):
        assert values[name].mean() == pytest.approx(getattr(found, name))
    assert values["lddt"].mean() == pytest.approx(found.lddt.mean)
    angle, oracle = values["true"][1], values["oracle"][1]
    assert np.corrcoef(oracle, angle[values["oracle_rows"]])[0, 1] == pytest.approx(
        found.agreements[1].oracle_correlation
    )


def test_a_figure_that_does_not_vary_has_no_correlation_and_null_in_the_file(run, data):
    """Both groups lie in the domain that stays."""
    found = evaluate(run, data.truth_path, domains=["ONE=1-20", "TWO=30-50"], oracle_images=0, **QUICK)
    assert np.isnan(found.agreements[0].correlation)
    text = (run / "evaluation.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["agreements"][0]["correlation"] is None


def test_rounding_noise_is_no_variation(run, data, tmp_path):
    """A distance within a rigid domain varies by no more than float32 positions are rounded."""
    domains, written = ["ONE=1-20", "TWO=30-50"], tmp_path / "truth.npz"
    noise = np.random.default_rng(0).normal(scale=1e-4, size=data.truth.conformations.shape).astype(np.float32)
    replace(data.truth, conformations=data.truth.conformations + noise).save(written)
    found = evaluate(run, written, domains=domains, oracle_images=5, **QUICK)
    distance = found.agreements[0]
    assert np.isnan(distance.correlation)
    assert np.isnan(distance.oracle_correlation)
    assert np.isnan(distance.correlation_on_oracle_images)
    line = next(line for line in describe(found).splitlines() if line.startswith("ONE-TWO distance"))
    assert "does not vary in the truth, so there is no correlation; mean error" in line
    assert "nan" not in line
    assert "best possible" not in line


def test_an_oracle_that_is_not_asked_costs_nothing(run, data, monkeypatch):
    def unwanted(*_):
        raise AssertionError("no oracle was asked for")

    monkeypatch.setattr(evaluation, "find_candidates", unwanted)
    monkeypatch.setattr(evaluation, "ask_oracle", unwanted)
    found = evaluate(run, data.truth_path, oracle_images=0, **QUICK)
    assert [(a.oracle_correlation, a.oracle_images) for a in found.agreements] == [(None, 0)] * 2
    assert "best possible" not in describe(found)


def test_a_truth_of_other_images_is_refused(run, data, tmp_path):
    assert "other images" in refused(run, data, tmp_path, rotations=data.truth.rotations[::-1])


def test_a_model_that_lies_elsewhere_is_told(run, data, tmp_path, caplog):
    moved = replace(data.truth, base_positions=data.truth.base_positions + np.array([5.0, 0.0, 0.0]))
    moved.save(tmp_path / "truth.npz")
    evaluate(run, data.truth_path, oracle_images=0, **QUICK)
    assert "from where the simulation had it" not in caplog.text
    evaluate(run, tmp_path / "truth.npz", oracle_images=0, **QUICK)
    assert "lies 5.0 Å (RMSD) from where the simulation had it" in caplog.text


def test_a_truth_of_another_number_of_images_is_refused(run, data, tmp_path):
    fewer = {name: getattr(data.truth, name)[:50] for name in ("rotations", "shifts", "conformation_index", "presence")}
    assert "100 images" in refused(run, data, tmp_path, **fewer)


def test_a_truth_of_another_protein_is_refused(run, data, tmp_path):
    assert "residue 1" in refused(run, data, tmp_path, residue_number=data.truth.residue_number + 1)


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"oracle_images": -1}, "the oracle cannot look at -1 images"),
        ({"fsc_images": -3}, "the FSC cannot be taken of -3 images"),
        ({"structure_images": 0}, "structures of 0 images cannot be judged"),
    ],
)
def test_fewer_than_no_images_are_refused(run, data, counts, says):
    with pytest.raises(InputError, match=says):
        evaluate(run, data.truth_path, **counts)


def test_more_images_than_there_are_means_all(run, data):
    found = evaluate(run, data.truth_path, oracle_images=0, structure_images=10**6, fsc_images=0, device="cpu")
    assert found.lddt.images == found.stereochemistry.images == 100


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (["LID"], "NAME=CHAIN:FIRST-LAST"),
        (["=A:1-9", "CORE=rest"], "NAME=CHAIN:FIRST-LAST"),
        (["LID=", "CORE=rest"], "NAME=CHAIN:FIRST-LAST"),
        (["LID=A:1-x:2", "CORE=rest"], "cannot read the residue range"),
        (["LID=A:500-600", "CORE=rest"], "no residue of the model lies in 'A:500-600' (chains: A)"),
        (["LID=B:1-50", "CORE=rest"], "no residue of the model lies in 'B:1-50'"),
        (["LID=A:61-500", "CORE=rest"], "'A:61-500' goes beyond the model, whose residues there are 1 to 100"),
        (["LID=0-50", "CORE=rest"], "'0-50' goes beyond the model"),
        (["LID=A:1-2", "CORE=rest"], "LID has 2 residues"),
        (["LID=A:1-50"], "at least two"),
        (["LID=A", "CORE=rest"], "CORE has 0 residues"),
        (["LID=A:1-50", "LID=A:60-70", "CORE=rest"], "LID is given twice"),
    ],
)
def test_domains_that_cannot_be_understood_are_refused(data, named, says):
    with pytest.raises(ConfigError) as found:
        domains_of(data.truth, named)
    assert says in str(found.value)


def test_a_chain_without_a_name_is_told_as_blank_and_left_out(data):
    truth = replace(data.truth, chain=np.full(100, ""), domain=np.full(100, -1))
    with pytest.raises(ConfigError) as found:
        domains_of(truth, ["LID=A:1-50", "CORE=rest"])
    assert "(chains: (blank); leave a blank chain out, as in LID=122-159)" in str(found.value)
    with pytest.raises(ConfigError, match="--domain LID=122-159 --domain CORE=rest"):
        domains_of(truth, [])
    assert [domain.mask.sum() for domain in domains_of(truth, ["LID=1-50", "CORE=rest"])] == [50, 50]


def test_domains_take_several_ranges_negative_numbers_and_the_rest(data):
    truth = replace(data.truth, residue_number=np.arange(-5, 95))
    lid, core = domains_of(truth, ["LID=A:-3-4,20-29", "CORE=rest"])
    assert truth.residue_number[lid.mask].tolist() == [*range(-3, 5), *range(20, 30)]
    assert (core.mask == ~lid.mask).all()


def test_by_default_the_domains_are_those_of_the_simulation(data):
    moved, rest = domains_of(data.truth, [])
    assert (moved.name, rest.name) == ("domain 1", "rest")
    assert data.truth.residue_number[moved.mask].tolist() == list(range(61, 101))


def test_a_trajectory_names_no_domains(data):
    with pytest.raises(ConfigError, match="names no domains"):
        domains_of(replace(data.truth, domain=np.full(100, -1)), [])


@pytest.mark.parametrize("name", ["model.cif", "particles.mrcs", "simulation.yaml"])
def test_another_file_of_the_simulation_is_no_truth_and_is_told_so_in_our_words(run, data, name):
    with pytest.raises(InputError) as found:
        evaluate(run, data.folder / name, oracle_images=0, **QUICK)
    assert f"{name}: cannot be read as the truth of a simulation: it is not the archive" in str(found.value)
    assert "pickle" not in str(found.value)
