"""One bead per residue: what an image at residue resolution sees of an atomic model."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryosphere.structures import chemistry
from cryosphere.structures.residues import AtomColumns, Site

logger = logging.getLogger(__name__)

_LINK_LENGTH = 2.5  # Å; C-N is 1.33 and O3'-P 1.6 when bonded, more than 3 when not
_ANCHOR_DISTANCE = {"protein": (2.0, 4.6), "nucleic": (3.0, 9.0)}  # Å, Cα-Cα (cis 2.9, trans 3.8) and C1'-C1' (5-6)


@dataclass(frozen=True)
class Beads:
    """R beads in the order of the file; the index of a bead is the residue index used everywhere.

    amplitudes: electrons of the residue, hydrogens included: those of the file where it has them, otherwise those
    the residue's composition implies, so that models with and without hydrogens agree. Atoms of the conformer with
    the highest occupancy count; waters and ions that ride along do not.
    kind: "protein" (bead at Cα), "nucleic" (at C1'), "modified" (a modified amino acid or nucleotide inside a chain)
    or "ligand" (both at their centre of electrons).
    bonded: pairs (i, i + 1) of residues that are chemically linked within one polymer chain.
    """

    positions: NDArray[np.float64]  # (R, 3), Å
    amplitudes: NDArray[np.float64]  # (R,), electrons
    chain: NDArray[np.str_]  # (R,), the author's chain ids
    number: NDArray[np.int64]  # (R,), the author's residue numbers
    insertion: NDArray[np.str_]  # (R,), insertion codes, "" where there is none
    name: NDArray[np.str_]  # (R,), residue names
    kind: NDArray[np.str_]  # (R,)
    bonded: NDArray[np.int64]  # (P, 2), bead indices

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def fingerprint(self) -> str:
        """Short hash of what the residues are called, in order: chains, numbers, insertion codes and names."""
        columns = (self.chain, self.number, self.insertion, self.name)
        rows = (" ".join(str(word).strip() or "-" for word in row) for row in zip(*columns, strict=True))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:20]


def build_beads(atoms: AtomColumns, sites: tuple[Site, ...], source: str) -> tuple[Beads, NDArray[np.int64]]:
    """Beads of a model, and for each atom the bead it moves with, (n_atoms,).

    Waters and lone ions are no beads of their own: each rides with the bead nearest to it. In a model of nothing but
    those, every one of them is a bead. The log says in a line what became what.
    """
    is_bead = np.array([site.role not in ("water", "ion") for site in sites])
    if not is_bead.any():
        is_bead[:] = True
    centres, electrons = _centres_of_electrons(atoms, sites)
    anchors = _anchors(atoms, sites)
    kinds = np.array([_kind(site) for site in sites])
    at_anchor = (anchors >= 0) & np.isin(kinds, ("protein", "nucleic"))
    positions = np.where(at_anchor[:, None], atoms.positions[anchors], centres)
    chosen = np.flatnonzero(is_bead)
    beads = Beads(
        positions=positions[chosen],
        amplitudes=electrons[chosen],
        chain=np.array([sites[i].chain for i in chosen]),
        number=np.array([sites[i].number for i in chosen], dtype=np.int64),
        insertion=np.array([sites[i].insertion for i in chosen]),
        name=np.array([sites[i].name for i in chosen]),
        kind=kinds[chosen],
        bonded=_bonded(atoms, [sites[i] for i in chosen], chosen, anchors[chosen]),
    )
    bead_of_site = np.full(len(sites), -1, dtype=np.int64)
    bead_of_site[chosen] = np.arange(len(chosen))
    riders = np.flatnonzero(~is_bead)
    if riders.size:
        bead_of_site[riders] = cKDTree(beads.positions).query(centres[riders])[1]
    _report(source, sites, is_bead, at_anchor)
    return beads, bead_of_site[atoms.site]


def _kind(site: Site) -> str:
    if site.role in ("protein", "nucleic"):
        return site.role if site.is_standard else "modified"
    return "ligand"


def _centres_of_electrons(
    atoms: AtomColumns, sites: tuple[Site, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre, (S, 3), and electrons, (S,), of every site's counted atoms."""
    count = len(sites)
    weights = np.where(atoms.counted, atoms.atomic_numbers, 0).astype(np.float64)
    total = np.bincount(atoms.site, weights, count)
    moments = [np.bincount(atoms.site, weights * atoms.positions[:, axis], count) for axis in range(3)]
    centres = np.stack(moments, axis=1) / total[:, None]
    stated = np.bincount(atoms.site, weights * (atoms.atomic_numbers == 1), count)
    heavy = np.asarray(total - stated, dtype=np.float64)
    implied = np.array([
        chemistry.implied_hydrogens(site.name, float(electrons), in_polymer=site.role in ("protein", "nucleic"))
        for site, electrons in zip(sites, heavy, strict=True)
    ])  # fmt: skip
    mostly_stated = stated >= 0.75 * implied  # a file of polar hydrogens only does not count as one with hydrogens
    return centres, np.asarray(heavy + np.where(mostly_stated, stated, implied), dtype=np.float64)


def _anchors(atoms: AtomColumns, sites: tuple[Site, ...]) -> NDArray[np.int64]:
    """Index of the Cα or C1' of every polymer residue, (S,); -1 where there is none."""
    carbon = atoms.counted & (atoms.atomic_numbers == 6)
    alpha = _first_atom(atoms, carbon & (atoms.names == "CA"), len(sites))
    sugar = _first_atom(atoms, carbon & np.isin(atoms.names, ("C1'", "C1*")), len(sites))
    roles = np.array([site.role for site in sites])
    return np.where(roles == "protein", alpha, np.where(roles == "nucleic", sugar, -1))


def _first_atom(atoms: AtomColumns, mask: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    found = np.full(count, -1, dtype=np.int64)
    candidates = np.flatnonzero(mask)[::-1]
    found[atoms.site[candidates]] = candidates
    return found


def _bonded(
    atoms: AtomColumns, sites: list[Site], site_index: NDArray[np.int64], anchors: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Pairs of neighbours in a chain: by their linking atoms; where one is missing, by the distance of Cα or C1'."""
    count = int(atoms.site.max()) + 1
    ends = {
        role: (
            _first_atom(atoms, atoms.counted & np.isin(atoms.names, tail), count),
            _first_atom(atoms, atoms.counted & (atoms.names == head), count),
        )
        for role, tail, head in (("protein", ("C",), "N"), ("nucleic", ("O3'", "O3*"), "P"))
    }
    pairs = []
    for i, (before, after) in enumerate(itertools.pairwise(sites)):
        if before.role not in ends or before.role != after.role or before.chain != after.chain:
            continue
        tail, head = ends[before.role][0][site_index[i]], ends[before.role][1][site_index[i + 1]]
        if tail >= 0 and head >= 0:
            linked = _distance(atoms, tail, head) < _LINK_LENGTH
        elif anchors[i] >= 0 and anchors[i + 1] >= 0 and _numbers_follow(before, after):
            low, high = _ANCHOR_DISTANCE[before.role]
            linked = low < _distance(atoms, anchors[i], anchors[i + 1]) < high
        else:
            linked = False
        if linked:
            pairs.append((i, i + 1))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _numbers_follow(before: Site, after: Site) -> bool:
    if before.label_number is not None and after.label_number is not None:
        return after.label_number - before.label_number == 1
    return after.number - before.number in (0, 1)


def _distance(atoms: AtomColumns, first: int, second: int) -> float:
    return float(np.linalg.norm(atoms.positions[first] - atoms.positions[second]))


def _report(source: str, sites: tuple[Site, ...], is_bead: NDArray[np.bool_], at_anchor: NDArray[np.bool_]) -> None:
    places = {"protein": "protein (Cα)", "nucleic": "nucleic (C1')", "modified": "modified", "ligand": "ligand"}
    kinds = Counter(places[_kind(site)] for site, bead in zip(sites, is_bead, strict=True) if bead)
    riders = Counter(site.role for site, bead in zip(sites, is_bead, strict=True) if not bead)
    made = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    riding = " and ".join(f"{count} {role}" for role, count in sorted(riders.items()))
    others = Counter(
        site.name for site, bead in zip(sites, is_bead, strict=True) if bead and _kind(site) in ("modified", "ligand")
    )
    detail = f" ({', '.join(f'{name} × {count}' for name, count in others.most_common(6))})" if others else ""
    rest = f"; {riding} move with the nearest bead" if riding else ""
    logger.info("%s: %d beads, one per residue: %s%s%s", source, is_bead.sum(), made, detail, rest)
    lost = [
        f"{site.name} {site.chain}{site.number}{site.insertion}"
        for site, anchored in zip(sites, at_anchor, strict=True)
        if not anchored and _kind(site) in ("protein", "nucleic")
    ]
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        logger.info(
            "%s: %d residues lack their Cα or C1' and have their bead at the centre of their electrons: %s%s",
            source, len(lost), ", ".join(lost[:5]), more,
        )  # fmt: skip
