"""The page of an evaluation: what it says was possible, reached and missed, and its place in the report."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from cryosphere.errors import InputError
from cryosphere.evaluation import page as page_module
from cryosphere.evaluation.evaluate import evaluate
from cryosphere.evaluation.fsc import FscSettings, fsc_of_run
from cryosphere.evaluation.judgement import failures, ratio
from cryosphere.evaluation.page import BEGIN, END, link_report, truth_section, write_page
from cryosphere.evaluation.results import Agreement, PerImage
from cryosphere.training.trained import TrainedModel


@pytest.fixture(scope="module")
def found(run, data):
    return evaluate(run, data.truth_path, oracle_images=20, device="cpu")


@pytest.fixture(scope="module")
def values(found, run):
    with np.load(run / "evaluation" / "figures.npz") as archive:
        return PerImage(**{name: archive[name] for name in archive.files})


@pytest.fixture(scope="module")
def fsc(run, data, values):
    model = TrainedModel.load(run, device="cpu")
    return fsc_of_run(model, data.truth, values.latent_mean, settings=FscSettings(images=4))


def agreement(**changes):
    one = Agreement("LID distance", "Å", 0.9, 1.0, 0.95, 50, 0.93, (20.0, 30.0), (20.5, 29.0))
    return replace(one, **changes)


def good(found):
    """An evaluation of which nothing is wrong."""
    return replace(
        found, deviation=1.0, base_deviation=4.0, agreements=[agreement()],
        lddt=None, stereochemistry=None, partition=None, latent=None, fsc=None,
    )  # fmt: skip


class _Balance(HTMLParser):
    """Every tag that opens closes, in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def text_of(path):
    text = path.read_text(encoding="utf-8")
    parser = _Balance()
    parser.feed(text)
    assert parser.open == []
    return text


def test_the_page_stands_alone_and_its_pictures_lie_beside_it(tmp_path, found, values, fsc):
    path = write_page(tmp_path, found, values, fsc)
    text = text_of(path)
    assert path == tmp_path / "evaluation" / "evaluation.html"
    loaded = re.findall(r"(?:src|href)='([^']*)'", text)
    assert {one for one in loaded if not one.startswith("data:image/png")} == {"../evaluation.json", "figures.npz"}
    assert "<script" not in text
    pictures = {one.name for one in path.parent.glob("*.png")}
    assert pictures >= {"predicted_against_true.png", "deviations.png", "volumes.png", "defects.png", "latents.png"}
    assert text.count("<img ") == len(pictures)


def test_what_was_possible_stands_beside_what_was_reached(tmp_path, found, values, fsc):
    text = text_of(write_page(tmp_path, replace(good(found), agreements=[agreement()]), _one_figure(values), fsc))
    assert "possible 0.950, reached 0.930, 98 % (nearly all of it); mean error 1.00\u00a0Å" in text
    assert "Predicted structures are 1.00 Å from the true ones" in text
    assert "75 % of the distance is explained" in text


def _one_figure(values):
    return replace(
        values, names=values.names[:1], units=values.units[:1], predicted=values.predicted[:1], true=values.true[:1],
        base=values.base[:1], oracle=values.oracle[:1],
    )  # fmt: skip


def test_without_oracle_and_volumes_the_page_says_less(tmp_path, found, values):
    alone = agreement(oracle_correlation=None, correlation_on_oracle_images=None, oracle_images=0)
    text = text_of(write_page(tmp_path, replace(good(found), agreements=[alone]), _one_figure(values)))
    assert "No oracle was asked" in text
    assert "<h2>Volumes</h2>" not in text
    assert not (tmp_path / "evaluation" / "volumes.png").exists()


def test_a_curve_that_outlasts_the_grid_is_marked(tmp_path, found, values, fsc):
    summary = fsc.summary()
    finest = 1 / summary.frequencies[-1]
    beads = replace(summary.beads, at_half=finest, at_0143=finest)
    base = replace(summary.base_beads, at_half=20.0)
    outlasting = replace(good(found), fsc=replace(summary, beads=beads, base_beads=base))
    text = text_of(write_page(tmp_path, outlasting, _one_figure(values)))
    assert f"agree with the true ones to ≤\u00a0{finest:.1f} Å" in text
    assert "base structure 20.0 Å" in text


def test_names_are_escaped(tmp_path, found, values):
    odd = agreement(name="A<b>&B distance")
    text = text_of(write_page(tmp_path, replace(good(found), agreements=[odd]), _one_figure(values)))
    assert "A<b>&B" not in text
    assert "A&lt;b&gt;&amp;B distance" in text


def test_nothing_wrong_is_said_to_be_so(tmp_path, found, values):
    assert failures(good(found)) == []
    assert "Nothing that was checked stands out" in text_of(write_page(tmp_path, good(found), _one_figure(values)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"correlation_on_oracle_images": 0.5},
            "Correlations below 85 % of what was possible: LID distance (0.500 of 0.950).",
        ),
        ({"correlation": float("nan")}, "What moves in truth does not move in the predicted structures: LID distance."),
        ({"predicted_range": (24.0, 26.0)}, "The motion is too small: LID distance (20 % of the true range)."),
        ({"predicted_range": (10.0, 40.0)}, "The motion is too large: LID distance (3.0 times the true range)."),
    ],
)
def test_a_figure_that_was_missed_is_named(found, changes, says):
    assert failures(replace(good(found), agreements=[agreement(**changes)])) == [says]


def test_a_range_narrowed_by_noise_as_the_oracles_is_no_failure(found):
    """The variance of a posterior mean is that of the truth times the squared correlation."""
    noisy = agreement(oracle_correlation=0.5, correlation_on_oracle_images=0.48, predicted_range=(22.5, 27.5))
    assert failures(replace(good(found), agreements=[noisy])) == []
    clear = agreement(predicted_range=(22.5, 27.5))
    assert len(failures(replace(good(found), agreements=[clear]))) == 1


def test_what_does_not_move_in_truth_is_not_missed(found):
    still = agreement(correlation=float("nan"), true_range=(20.0, 20.0), predicted_range=(20.0, 21.0))
    still = replace(still, oracle_correlation=float("nan"))
    assert failures(replace(good(found), agreements=[still])) == []


def test_values_that_are_off_by_more_than_noise_are_named_together(found):
    off, fine = (agreement(name=f"{k} angle", unit="°", oracle_mean_error=e) for k, e in (("LID", 0.3), ("NMP", 0.8)))
    (sentence,) = failures(replace(good(found), agreements=[off, fine]))
    assert sentence.endswith("off by more than noise explains: LID angle (1.00°, possible 0.30°).")


def test_structures_no_better_than_none_are_called_so(found):
    (sentence,) = failures(replace(good(found), deviation=4.5))
    assert "no nearer to the truth (4.50 Å) than the base structure that never moves (4.00 Å)" in sentence


def test_clashes_torn_chains_worse_neighbours_and_idle_latents_are_failures(found):
    bad = replace(
        good(found),
        stereochemistry=replace(
            found.stereochemistry, clashes=7.0, true_clashes=0.5, structures_with_broken_links=0.4
        ),
        lddt=replace(found.lddt, mean=0.6, base_mean=0.7),
        latent=replace(found.latent, active_dimensions=0, pose_r2=0.4, pose_r2_by_chance=0.0, view_r2=None),
    )  # fmt: skip
    text = " ".join(failures(bad))
    for says in ("7.0 pairs of residues clash", "40 % of the structures a chain is torn", "lDDT 0.600 against 0.700",
                 "latent has collapsed", "encodes the pose (R² 0.40)"):  # fmt: skip
        assert says in text


def test_segments_that_miss_the_domains_are_failures(found):
    missed = [replace(one, nearest_body=9) for one in found.partition.boundaries]
    assert len(missed) == 1
    parts = replace(found.partition, adjusted_rand_bodies=0.3, boundaries=missed)
    rand, boundary = failures(replace(good(found), partition=parts))
    assert "adjusted Rand index 0.30" in rand
    assert "after A:60" in boundary


def test_volumes_no_better_than_the_base_structures_are_a_failure(found, fsc):
    summary = fsc.summary()
    (sentence,) = failures(replace(good(found), fsc=replace(summary, beads=summary.base_beads)))
    assert "predicted structures are no nearer to the true ones than the base structure is" in sentence


def test_a_ratio_needs_an_oracle_that_sees_something():
    assert ratio(agreement()) == pytest.approx(0.93 / 0.95)
    for changes in (
        {"oracle_correlation": None},
        {"oracle_correlation": float("nan")},
        {"oracle_correlation": 0.0},
        {"correlation_on_oracle_images": None},
    ):
        assert ratio(agreement(**changes)) is None


def test_a_report_written_before_or_after_shows_the_same_section(tmp_path, found, values):
    assert truth_section(tmp_path) == BEGIN + END  # no evaluation yet
    report = tmp_path / "analysis" / "report.html"
    report.parent.mkdir()
    (tmp_path / "evaluation.json").write_text("{}", encoding="utf-8")
    report.write_text(f"<p>before</p>{truth_section(tmp_path)}<p>after</p>", encoding="utf-8")
    write_page(tmp_path, good(found), _one_figure(values))
    written_before = report.read_text(encoding="utf-8")
    assert written_before == f"<p>before</p>{truth_section(tmp_path)}<p>after</p>"
    assert "<h2>Against the truth</h2>" in written_before
    assert "href='../evaluation/evaluation.html'" in written_before
    worse = replace(good(found), deviation=3.33)
    write_page(tmp_path, worse, _one_figure(values))
    again = report.read_text(encoding="utf-8")
    assert again.count(BEGIN) == again.count(END) == 1
    assert "3.33 Å" in again
    assert "1.00 Å from the true ones" not in again


def test_a_page_of_an_earlier_run_is_not_shown(tmp_path, found, values):
    """Training anew removes evaluation.json."""
    write_page(tmp_path, good(found), _one_figure(values))
    assert truth_section(tmp_path) == BEGIN + END


def test_a_report_of_an_older_version_is_left_alone(tmp_path, monkeypatch):
    report = tmp_path / "analysis" / "report.html"
    report.parent.mkdir()
    report.write_text("<p>no marks</p>", encoding="utf-8")
    monkeypatch.setattr(page_module, "truth_section", lambda _: "new")
    link_report(tmp_path)
    assert report.read_text(encoding="utf-8") == "<p>no marks</p>"


def test_the_box_of_the_volumes_may_be_that_of_cryobench(run, data):
    counts = {"oracle_images": 0, "structure_images": 5, "device": "cpu"}
    made = evaluate(run, data.truth_path, fsc_images=1, fsc_box=48, **counts)
    assert (made.fsc.box, made.fsc.pixel_size) == (48, pytest.approx(32 * 4.0 / 48))
    with pytest.raises(InputError, match="volumes of 7 voxels show nothing"):
        evaluate(run, data.truth_path, fsc_box=7, **counts)
