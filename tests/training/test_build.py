"""From settings and beads to the model's parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryosphere.errors import ConfigError
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.structures import read_model
from cryosphere.structures.beads import Beads
from cryosphere.training.build import along_chain, parts_of
from cryosphere.training.configure import configure

INPUTS = {"particles": "p.star", "model": "m.cif"}


@pytest.fixture(scope="module")
def beads() -> Beads:
    return two_domain_protein(0, residues=(60, 40)).model.beads


def part(text: str, **options: object):
    return configure(**INPUTS, overrides=[f"segmentation.parts=[{{{text}}}]"], **options)


def test_by_default_the_whole_model_is_cut(beads: Beads) -> None:
    (whole,) = parts_of(configure(**INPUTS, segments=7), beads)
    assert (whole.first, whole.last, whole.segments) == (0, 99, 7)


def test_a_part_is_named_by_the_residue_numbers_of_the_model(beads: Beads) -> None:
    numbered = replace(beads, number=beads.number + 320)
    (upper,) = parts_of(part("chain: A, first: 381, last: 420, segments: 2, means: [390, 410]"), numbered)
    assert (upper.first, upper.last) == (60, 99)
    assert upper.means == (69.0, 89.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chain: B", "chain 'B'; the model has A"),
        ("chain: A, first: 200, last: 300", "0 residues of the model.*from 1 to 100"),
        ("chain: A, first: 1, last: 3, segments: 4", "too few for 4 segments"),
        ("chain: A, first: 1, last: 50}, {chain: A, first: 50, last: 99", "overlap"),
        ("chain: A, segments: 2, means: [50, 1000]", "means of chain A lie outside 1-100"),
    ],
)
def test_impossible_parts_are_explained(text: str, message: str, beads: Beads) -> None:
    with pytest.raises(ConfigError, match=message):
        parts_of(part(text), beads)


@pytest.mark.parametrize(
    ("text", "asked", "cut"),
    [
        ("first: 61, last: 900", "61 to 900", "61 to 100 are cut"),
        ("first: -4, last: 50", "-4 to 50", "1 to 50 are cut"),
        ("last: 101", "1 to 101", "1 to 100 are cut"),
    ],
)
def test_a_range_beyond_its_chain_is_warned_of(text: str, asked: str, cut: str, beads: Beads, caplog) -> None:
    parts_of(part(f"chain: A, {text}"), beads)
    assert f"residues {asked} of chain A are asked for, but the chain runs from 1 to 100" in caplog.text
    assert cut in caplog.text


@pytest.mark.parametrize("text", ["chain: A", "chain: A, first: 1, last: 100", "chain: A, first: 61"])
def test_a_range_within_its_chain_passes_silently(text: str, beads: Beads, caplog) -> None:
    parts_of(part(text), beads)
    assert caplog.text == ""


def test_a_part_must_be_one_stretch_of_the_model(beads: Beads) -> None:
    chain = beads.chain.copy()
    chain[30:40] = "B"
    with pytest.raises(ConfigError, match=r"one stretch of the model: .* 31 of chain B stands between"):
        parts_of(part("chain: A"), replace(beads, chain=chain))
    shuffled = replace(beads, number=np.roll(beads.number, 40))
    with pytest.raises(ConfigError, match="do not rise"):
        parts_of(part("chain: A"), shuffled)


def test_a_number_of_segments_beside_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        part("chain: A", segments=4)


def test_more_segments_than_residues_are_refused(beads: Beads) -> None:
    with pytest.raises(ConfigError, match="only 100 residues"):
        parts_of(configure(**INPUTS, segments=101), beads)


def test_the_haems_of_haemoglobin_move_with_the_chains_that_hold_them(shared_data: Path) -> None:
    beads = read_model(shared_data / "models" / "chemfiles" / "4hhb.pdb").beads
    places = along_chain(beads)
    haems = np.flatnonzero(beads.name == "HEM")
    assert len(haems) == 4
    # in 4HHB each haem carries the chain id of the globin around it, but stands after all chains in the file
    assert (beads.chain[places[haems]] == beads.chain[haems]).all()
    polymer = beads.kind != "ligand"
    assert (places[polymer] == np.flatnonzero(polymer)).all()
