"""The demo from end to end, in miniature: what it says, and what it leaves alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cryosphere import demo as demo_module
from cryosphere.cli.main import run
from cryosphere.demo import FEWEST_IMAGES, demo
from cryosphere.errors import ConfigError, RunError
from cryosphere.simulation.config import ImageSettings
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.training.configure import configure

SMALL = ("images.box=24", "encoder.hidden=[16]", "encoder.latent_dim=2", "encoder.grid=6", "decoder.hidden=[16]")


@pytest.fixture(scope="module")
def miniature():
    """The demo's own steps on 100 residues, 32² pixels, and one epoch of a small network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "EPOCHS", 1)
        patch.setattr(demo_module, "two_domain_protein", lambda seed: two_domain_protein(seed, (60, 40)))
        patch.setattr(
            demo_module,
            "ImageSettings",
            lambda **given: ImageSettings(**{**given, "box": 32, "pixel_size": 4.0, "snr": 1.0}),
        )
        patch.setattr(demo_module, "configure", lambda **given: configure(overrides=SMALL, device="cpu", **given))
        yield


@pytest.fixture(scope="module")
def finished(miniature, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "here"
    return demo(folder, images=FEWEST_IMAGES), folder


def files_in(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_text_names_the_report_and_the_structures(finished):
    result, folder = finished
    assert result.report.is_file()
    assert str(result.report) in result.text
    traversals = folder / "run" / "analysis" / "traversals"
    assert str(traversals) in result.text
    assert list(traversals.glob("*.cif"))
    assert f"cryosphere structures {folder / 'run'} --output {folder / 'structures'}" in result.text


def test_text_and_figures_call_the_domains_by_the_same_names(finished):
    result, _ = finished
    assert "domain 1 is residues 1-60, domain 2 residues 61-100; domain 2 turns by 0 to 60 degrees" in result.text
    names = [agreement.name for agreement in result.evaluation.agreements]
    assert names == ["domain 2-domain 1 distance", "domain 2-domain 1 angle"]
    assert "domain 2 (A:61-100; 40 residues)" in result.text
    assert "rest" not in names[0]
    low, high = result.evaluation.agreements[1].true_range
    assert 0 <= low < high <= 60  # the turn of domain 2 as simulated, in degrees, with its sign


def test_the_boundary_told_is_one_where_the_segments_change(finished):
    result, _ = finished
    told = re.search(r"A boundary between segments lies after residue (\d+)\.", result.text)
    changes = [number for _, number in result.evaluation.boundaries]
    assert told is not None
    assert int(told[1]) == min(changes, key=lambda number: abs(number - 60))


def test_everything_one_segment_is_said_so(finished):
    from dataclasses import replace

    result, folder = finished
    whole = replace(result.evaluation, boundaries=[])
    text = demo_module._in_words(whole, two_domain_protein(0, (60, 40)), folder, 1.0)
    assert "No boundary was found" in text


def test_an_earlier_demo_is_replaced_but_not_what_else_lies_there(finished):
    _, folder = finished
    (folder / "notes.txt").write_text("mine")
    before = files_in(folder)
    assert demo(folder, images=FEWEST_IMAGES, seed=1) is not None
    after = files_in(folder)
    assert after["notes.txt"] == before["notes.txt"]
    for name in ("protein.cif", "data/truth.npz", "run/config.yaml", "run/analysis/report.html"):
        assert after[name] > before[name]


def test_a_demo_killed_between_its_first_files_can_be_begun_again(miniature, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    for step in ("write_model", "simulate"):
        with monkeypatch.context() as patch:
            patch.setattr(demo_module, step, killed)
            with pytest.raises(KeyboardInterrupt):
                demo(tmp_path / "here", images=FEWEST_IMAGES)
    demo_module._clear(tmp_path / "here")


def test_a_folder_of_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="something other than a demo"):
        demo(tmp_path)
    assert list(files_in(tmp_path)) == ["run/thesis.tex"]


def test_a_simulation_is_no_demo_though_its_settings_have_the_same_name(finished, tmp_path):
    _, folder = finished
    simulated = folder / "data" / "simulation.yaml"
    (tmp_path / "simulation.yaml").write_bytes(simulated.read_bytes())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("weeks of training")
    with pytest.raises(RunError, match="something other than a demo"):
        demo(tmp_path)
    assert (tmp_path / "run" / "config.yaml").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "demo").write_text("a file")
    with pytest.raises(RunError, match="is a file"):
        demo(tmp_path / "demo")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"images": 0}, "0 images"),
        ({"images": -5}, "-5 images"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "from 0 to"),
    ],
)
def test_arguments_are_checked_before_anything_is_touched(finished, tmp_path, options, says):
    _, folder = finished
    before = files_in(folder)
    for place in (folder, tmp_path / "new"):
        with pytest.raises(ConfigError, match=says):
            demo(place, **options)
    assert files_in(folder) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("option", [["--images", "0"], ["--seed", "-1"]])
def test_the_command_line_returns_2_for_impossible_arguments(tmp_path, option, capsys):
    assert run(["demo", "--outdir", str(tmp_path / "new"), *option]) == 2
    assert option[0] in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
