"""Settings: where they come from, what is refused and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryosphere.errors import ConfigError
from cryosphere.training.config import Config
from cryosphere.training.configure import OPTIONS, configure
from cryosphere.training.run_directory import differing_keys
from cryosphere.training.schedules import Constant, Cyclical, Linear, warm_then_cosine

INPUTS = {"particles": "p.star", "model": "m.cif"}


def test_particles_and_model_are_enough() -> None:
    assert isinstance(configure(**INPUTS), Config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", r"unknown setting training\.epoch; did you mean training\.epochs"),
        ("los.low_pass=3", r"unknown setting los; did you mean loss"),
        ("low_pass=8", r"unknown setting low_pass; did you mean loss\.low_pass\?"),
        ("training.low_pass=8", r"unknown setting training\.low_pass; did you mean loss\.low_pass\?"),
        ("Training.epochs=8", r"unknown setting Training; did you mean training\?"),
        ("hidden=[5]", r"did you mean encoder\.hidden or decoder\.hidden or occupancy\.hidden\?"),
        ("decoder.Hidden=[5]", r"did you mean decoder\.hidden\?"),
        ("encoder.kind=MLP", r"encoder\.kind: .*\(found 'MLP'\); did you mean mlp\?"),
        ("loss.clash.kind=Linaer", r"loss\.clash\.kind .*\(found 'Linaer'\); did you mean linear\?"),
        ("training.epochs=0", r"training\.epochs"),
        ("loss.kl=exact", r"loss\.kl"),
        ("images.box=big", r"images\.box"),
        ("loss.clash={kind: steps, value: 1}", r"loss\.clash"),
        ("no equals sign", "name=value"),
        ("model.name=x", "not a group"),
    ],
)
def test_wrong_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(**INPUTS, overrides=[override])


@pytest.mark.parametrize("missing", ["particles", "model"])
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.raises(ConfigError, match=missing):
        configure(**{name: value for name, value in INPUTS.items() if name != missing})


def test_a_misspelt_key_is_named_before_what_then_seems_to_be_missing(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("particles: {file: p.star}\nmodel: m.cif\n")
    with pytest.raises(ConfigError, match=r"unknown setting particles\.file; did you mean particles\.files\?$"):
        configure(file)
    file.write_text("particles: {files: p.star}\nmodell: m.cif\n")
    with pytest.raises(ConfigError, match=r"unknown setting modell; did you mean model\?$"):
        configure(file)


def test_long_groups_of_values_are_not_repeated_in_messages() -> None:
    with pytest.raises(ConfigError) as found:
        configure(**INPUTS, overrides=["loss.clash={value: 1, until: 0.5, anything: [1, 2, 3], and: so, on: 1}"])
    assert "loss.clash: its kind is missing" in str(found.value)
    assert "{" not in str(found.value)


def test_numbers_in_scientific_notation_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("particles: {files: p.star}\nmodel: m.cif\ntraining: {learning_rate: 1e-4}\n")
    assert configure(file).training.learning_rate == 1e-4


def test_options_win_over_the_file_and_overrides_over_options(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("particles: {files: p.star}\nmodel: m.cif\ntraining: {epochs: 5, seed: 8}\n")
    config = configure(file, epochs=6)
    assert (config.training.epochs, config.training.seed) == (6, 8)
    assert configure(file, epochs=6, overrides=["training.epochs=7"]).training.epochs == 7


def test_paths_in_a_settings_file_are_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("particles: {files: [p.star], datadir: d}\nmodel: m.cif\n")
    config = configure(file)
    assert config.particles.files == (tmp_path / "p.star",)
    assert config.particles.datadir == tmp_path / "d"
    assert config.model == tmp_path / "m.cif"


def test_every_short_option_sets_a_setting_that_exists() -> None:
    for path in OPTIONS.values():
        place = Config
        for name in path.split("."):
            assert name in place.model_fields, path
            place = place.model_fields[name].annotation


def test_differing_settings_are_listed_by_name() -> None:
    one, other = configure(**INPUTS), configure(**INPUTS, overrides=["loss.low_pass=8", "training.seed=4"])
    assert differing_keys(one, other) == ["loss.low_pass: None → 8.0", "training.seed: 0 → 4"]


def test_schedules_take_their_values_at_the_start_the_middle_and_the_end() -> None:
    assert Constant(value=2).at(0.3) == 2
    linear = Linear(start=0, end=4, until=0.5)
    assert [linear.at(x) for x in (0, 0.25, 0.5, 1)] == [0, 2, 4, 4]
    cyclical = Cyclical(low=1, high=3, cycles=2, rise=0.5)
    assert [cyclical.at(x) for x in (0, 0.125, 0.25, 0.49, 0.5, 1)] == pytest.approx([1, 2, 3, 3, 1, 3])


def test_the_learning_rate_rises_then_falls_to_its_floor() -> None:
    values = [warm_then_cosine(x / 100) for x in range(101)]
    assert max(values) == pytest.approx(1.0)
    assert values[0] < 0.1
    assert values[-1] == pytest.approx(0.05)
