"""Missing residues: gone from the images they are said to be gone from, and from no others."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest

from cryosphere.errors import ConfigError
from cryosphere.simulation.composition import draw_composition
from cryosphere.simulation.motion_config import AbsentResidues
from cryosphere.simulation.simulate import simulate
from cryosphere.simulation.truth import load_truth
from cryosphere.structures.model import read_model

from .conftest import configuration, hinge_config

TAIL = {"residues": [{"chain": "A", "first": 111}]}
HEAD = {"residues": [{"chain": "A", "last": 105}, {"chain": "B", "last": 2}], "fraction": 0.25}


def simulated(model, folder, *absent, **images):
    values = hinge_config(model, **({"box": 48, "snr": 1e12} | images)).model_dump()
    domains = [{"residues": [{"chain": "B", "first": 11}], "axis": [0, 0, 1], "pivot": [20, 4, 16]}]
    values["motion"]["domains"] = domains
    return simulate(configuration(values | {"absent": list(absent), "placement": "as-is"}), folder)


def stack(simulation):
    with mrcfile.open(simulation.folder / "particles.mrcs") as file:
        return np.array(file.data)


@pytest.fixture
def without_tail(protein, tmp_path):
    lines = protein.read_text().splitlines(keepends=True)
    path = tmp_path / "short.pdb"
    path.write_text("".join(line for line in lines if not (line[21:22] == "A" and int(line[22:26]) >= 111)))
    return path


def test_residues_absent_from_all_images_are_as_a_model_without_them(protein, without_tail, tmp_path):
    absent = stack(simulated(protein, tmp_path / "absent", TAIL))
    short = stack(simulated(without_tail, tmp_path / "short"))
    assert absent == pytest.approx(short, abs=2e-5 * float(short.std()))  # single precision sums in another order


def test_residues_absent_from_some_images_are_in_the_others(protein, without_tail, tmp_path):
    mixed = simulated(protein, tmp_path / "mixed", TAIL | {"fraction": 0.3})
    lacking = ~mixed.truth.presence[:, 0]
    assert lacking.sum() == 12  # 0.3 × 40
    whole, short = (stack(simulated(m, tmp_path / m.stem)) for m in (protein, without_tail))
    expected = np.where(lacking[:, None, None], short, whole)
    assert stack(mixed) == pytest.approx(expected, abs=2e-5 * float(whole.std()))


def test_the_truth_says_which_residues_each_image_holds(protein, tmp_path):
    made = simulated(protein, tmp_path / "out", TAIL | {"fraction": 0.5}, HEAD)
    truth = load_truth(made.truth_path)
    assert truth.presence.shape == (40, 2) and truth.absent_sets.shape == (2, 40)
    assert (~truth.presence).sum(axis=0).tolist() == [20, 10]
    present = truth.present(slice(None))
    for image in range(40):
        gone = set()
        if not truth.presence[image, 0]:
            gone |= {("A", n) for n in range(111, 121)}
        if not truth.presence[image, 1]:
            gone |= {("A", n) for n in range(101, 106)} | {("B", 1), ("B", 2)}
        residues = zip(truth.chain, truth.residue_number, strict=True)
        assert [(c, n) not in gone for c, n in residues] == present[image].tolist()


def test_sets_come_and_go_independently_of_each_other(protein):
    sets = [AbsentResidues.model_validate(TAIL | {"fraction": 0.5}), AbsentResidues.model_validate(HEAD)]
    presence = draw_composition(read_model(protein).beads, sets, 20_000, np.random.default_rng(0)).presence
    both = (~presence).all(axis=1).mean()
    assert both == pytest.approx(0.5 * 0.25, abs=0.01)


@pytest.mark.parametrize(
    ("absent", "says"),
    [
        ([{"residues": [{"chain": "C"}]}], "no chain 'C'"),
        ([{"residues": [{"chain": "A", "first": 118, "last": 140}]}], "has only chain 'A' 101 to 120"),
        ([{"residues": [{"chain": "A"}]}, {"residues": [{"chain": "B"}], "fraction": 0.1}], "name all residues"),
    ],
)
def test_sets_that_cannot_be_are_refused_and_nothing_is_left(protein, tmp_path, absent, says):
    with pytest.raises(ConfigError, match=says):
        simulated(protein, tmp_path / "out", *absent)
    assert not (tmp_path / "out").exists()
