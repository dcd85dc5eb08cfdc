"""Groups of residues to measure between."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import ConfigError
from cryosphere.simulation.truth import Truth

_RANGE = re.compile(r"(?:(?P<chain>[^:,]+):)?(?P<first>-?\d+)-(?P<last>-?\d+)|(?P<whole>[^:,]+)")


@dataclass(frozen=True)
class Domain:
    """A named group of residues."""

    name: str
    mask: NDArray[np.bool_]  # (residues,)


def domains_of(truth: Truth, named: Sequence[str]) -> list[Domain]:
    """The domains named ("LID=A:122-159,A:170-175", "CORE=rest"), or those that the simulation moved.

    Raises:
        ConfigError: for a name that cannot be read, a group of fewer than three residues, or nothing to measure.
    """
    domains = _parse(truth, named) if named else simulated_domains(truth)
    if len(domains) < 2:
        raise ConfigError(
            "nothing to measure: the truth names no domains, so name at least two, such as "
            + " ".join(f"--domain {name}={ranges}" for name, ranges in (("LID", _example(truth)), ("CORE", "rest")))
        )
    for domain in domains:
        if domain.mask.sum() < 3:
            raise ConfigError(f"the domain {domain.name} has {int(domain.mask.sum())} residues; it takes three or more")
    return domains


def simulated_domains(truth: Truth) -> list[Domain]:
    """The domains that the simulation moved, then what it left alone; none where it does not say."""
    labels = [int(label) for label in np.unique(truth.domain) if label >= 0]
    domains = [Domain("rest" if k == 0 else f"domain {k}", truth.domain == k) for k in labels]
    return sorted(domains, key=lambda domain: domain.name == "rest")


def _parse(truth: Truth, named: Sequence[str]) -> list[Domain]:
    masks: dict[str, NDArray[np.bool_] | None] = {}
    for text in named:
        name, equals, ranges = text.partition("=")
        if not equals or not name or not ranges:
            raise ConfigError(f"--domain takes NAME=CHAIN:FIRST-LAST,… or NAME=rest, found {text!r}")
        if name in masks:
            raise ConfigError(f"--domain {name} is given twice; put all its residues into one: {name}=A:1-9,A:20-29")
        masks[name] = None if ranges == "rest" else _select(truth, ranges)
    taken = np.zeros(len(truth.chain), dtype=np.bool_)
    for mask in masks.values():
        taken |= False if mask is None else mask
    return [Domain(name, ~taken if mask is None else mask) for name, mask in masks.items()]


def _select(truth: Truth, ranges: str) -> NDArray[np.bool_]:
    mask = np.zeros(len(truth.chain), dtype=np.bool_)
    for piece in ranges.split(","):
        match = _RANGE.fullmatch(piece.strip())
        if match is None:
            raise ConfigError(f"cannot read the residue range {piece!r}; it looks like A:122-159, A or 122-159")
        chain = match["whole"] or match["chain"]  # without a chain, the residues of every chain are meant
        inside = np.ones_like(mask) if chain is None else truth.chain == chain
        if match["first"] is not None:
            there = truth.residue_number[inside]
            inside &= (truth.residue_number >= int(match["first"])) & (truth.residue_number <= int(match["last"]))
        if not inside.any():
            raise ConfigError(f"no residue of the model lies in {piece!r} ({_known_chains(truth)})")
        if match["first"] is not None and not there.min() <= int(match["first"]) <= int(match["last"]) <= there.max():
            raise ConfigError(
                f"{piece!r} goes beyond the model, whose residues there are {there.min()} to {there.max()}"
            )
        mask |= inside
    return mask


def _known_chains(truth: Truth) -> str:
    chains = [str(chain).strip() for chain in np.unique(truth.chain)]
    listed = "chains: " + ", ".join(chain or "(blank)" for chain in chains)
    if all(chains):
        return listed
    return f"{listed}; leave a blank chain out, as in LID={_example(truth)}"


def _example(truth: Truth) -> str:
    """How residues of this model are named: without a chain where a chain has no name."""
    return "A:122-159" if all(str(chain).strip() for chain in np.unique(truth.chain)) else "122-159"
