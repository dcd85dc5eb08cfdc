"""A protein that nobody has to download: two bundles of helices on a hinge, built atom by atom."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import gemmi
import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import ConfigError, CryosphereError
from cryosphere.simulation.motion_config import HingeDomain, HingeMotion, ResidueRange, UniformAngles
from cryosphere.structures import AtomicModel, model_from_structure
from cryosphere.structures.building import CALPHA_DISTANCE, BuiltResidue, build_chain

Array = NDArray[np.float64]

_RISE = 1.5  # Å per residue along an α-helix
_TURN = np.deg2rad(100.0)  # per residue
_RADIUS = float(np.sqrt(CALPHA_DISTANCE**2 - _RISE**2) / (2.0 * np.sin(_TURN / 2.0)))  # Å, of the Cα atoms
_SPACING = 10.2  # Å between the axes of packed helices
_DOMAIN_GAP = 15.0  # Å between the helix axes that face each other across the hinge
_LOOP = 4  # residues between helices
_HALF_LINKER = 3  # residues of each domain's share in the linker
_RESIDUES_PER_HELIX = 24  # with its loop
_SMALLEST_DOMAIN = 40  # residues
_CLASH = 4.0  # Å, between Cα atoms that are not neighbours along the chain
_ATTEMPTS = 50

_BURIED = ("LEU", "LEU", "VAL", "ALA")
_EXPOSED = ("LYS", "GLU", "GLU", "ALA", "SER")
_IN_LOOPS = ("GLY", "SER", "ASP", "LYS")


@dataclass(frozen=True)
class TwoDomainProtein:
    """An all-atom model of one chain, A, in two domains, and the hinge between them.

    Residues are numbered from 1; the model's centre of electrons is the origin. Turned right-handedly about `axis`
    through `pivot`, the second domain opens away from the first: 0 to 1.2 rad are free of clashes.
    """

    model: AtomicModel
    domains: tuple[tuple[int, int], tuple[int, int]]  # first and last residue number of each
    linker: tuple[int, int]  # first and last residue number of the stretch without helix that joins them
    pivot: tuple[float, float, float]  # Å, the middle of the bond between the domains
    axis: tuple[float, float, float]  # unit vector

    def opening(self, largest_degrees: float, conformations: int) -> HingeMotion:
        """The second domain turns about the hinge by angles drawn uniformly from 0 to `largest_degrees`."""
        first, last = self.domains[1]
        moving = (ResidueRange(chain="A", first=first, last=last),)
        hinge = HingeDomain(residues=moving, axis=self.axis, pivot=self.pivot)
        angles = UniformAngles(kind="uniform", low_degrees=0.0, high_degrees=largest_degrees)
        return HingeMotion(kind="hinge", domains=(hinge,), angles=angles, conformations=conformations)


@dataclass(frozen=True)
class _Trace:
    """Cα atoms of the whole chain, (n, 3) in Å, and the helices as (first, last + 1) indices."""

    positions: Array
    helices: tuple[tuple[int, int], ...]


def two_domain_protein(seed: int = 0, residues: tuple[int, int] = (120, 80)) -> TwoDomainProtein:
    """A compact two-domain protein of α-helices, all heavy atoms in ideal geometry, different for every seed.

    residues: of the first and the second domain, at least 40 each. Helices of a domain stand side by side, up and
    down in turn, joined by short loops; the domains stand next to each other on a linker at their lower ends.
    Raises ConfigError for domains that are too small.
    """
    if min(residues) < _SMALLEST_DOMAIN:
        raise ConfigError(f"domains of {residues} residues asked for; each needs at least {_SMALLEST_DOMAIN}")
    generator = np.random.default_rng(seed)
    trace = _compact_trace(residues, generator)
    names = _sequence(trace, generator)
    structure = _as_structure(build_chain(trace.positions, names), trace.helices)
    model = model_from_structure(structure, "two_domain_protein")
    centre = np.average(model.beads.positions, axis=0, weights=model.beads.amplitudes)
    boundary = residues[0]
    x, y, z = (trace.positions[boundary - 1] + trace.positions[boundary]) / 2.0 - centre
    return TwoDomainProtein(
        model=model.translated(-centre),
        domains=((1, boundary), (boundary + 1, sum(residues))),
        linker=(boundary - _HALF_LINKER + 1, boundary + _HALF_LINKER),
        pivot=(float(x), float(y), float(z)),
        axis=(0.0, 0.0, -1.0),
    )


def _compact_trace(residues: tuple[int, int], generator: np.random.Generator) -> _Trace:
    for _ in range(_ATTEMPTS):
        trace = _relaxed(_helices_with_loops(residues, generator))
        distances = np.linalg.norm(trace.positions[:, None] - trace.positions[None], axis=-1)
        steps = np.abs(np.subtract.outer(np.arange(len(distances)), np.arange(len(distances))))
        bonds = distances[steps == 1]
        if distances[steps > 2].min() > _CLASH and np.abs(bonds - CALPHA_DISTANCE).max() < 0.02:
            return trace
    raise CryosphereError(f"no compact chain of {residues} residues found in {_ATTEMPTS} attempts")


def _helices_with_loops(residues: tuple[int, int], generator: np.random.Generator) -> _Trace:
    """Ideal helices in place, arcs between them; bonds of the arcs still have the wrong lengths."""
    rows = 1  # the row in which the first domain ends and the second begins
    parts: list[Array] = []
    loops: list[int] = []
    for domain, count in enumerate(residues):
        helices = max(2, round(count / _RESIDUES_PER_HELIX))
        lengths = _helix_lengths(count - _HALF_LINKER - _LOOP * (helices - 1), helices, generator)
        order = range(helices) if domain else range(helices)[::-1]
        middle = -1.0 if domain == 0 else 1.0
        placed = []
        for place, length in zip(order, lengths, strict=True):
            column, in_column = divmod(place, 2)
            row = (column + in_column + rows) % 2
            axis_at = [middle * (_DOMAIN_GAP / 2.0 + _SPACING * column), 0.0, _SPACING * (row - 0.5)]
            upwards = (place + domain) % 2 == 1
            placed.append(_helix(np.array(axis_at), length, generator, upwards=upwards))
        parts.extend(placed)
        loops.extend([_LOOP] * (helices - 1) + ([2 * _HALF_LINKER] if domain == 0 else []))
    chain = [parts[0]]
    helix_ranges = [(0, len(parts[0]))]
    for loop, (before, after) in zip(loops, itertools.pairwise(parts), strict=True):
        chain.extend((_arc(before, after, loop, generator), after))
        start = helix_ranges[-1][1] + loop
        helix_ranges.append((start, start + len(after)))
    return _Trace(np.concatenate(chain), tuple(helix_ranges))


def _helix_lengths(total: int, helices: int, generator: np.random.Generator) -> list[int]:
    lengths = np.full(helices, total // helices)
    lengths[: total % helices] += 1
    shift = int(generator.integers(0, 2))  # a little unevenness
    lengths[0] += shift
    lengths[-1] -= shift
    return [int(length) for length in lengths]


def _helix(axis_at: Array, length: int, generator: np.random.Generator, *, upwards: bool) -> Array:
    """Cα atoms of an α-helix along ±y, standing at y = 0 with a random phase and a slight tilt."""
    tilt_x, tilt_z = generator.uniform(-0.05, 0.05, 2)  # radians
    along = np.array([tilt_x, 1.0, tilt_z]) * (1.0 if upwards else -1.0)
    along /= np.linalg.norm(along)
    side = np.cross(along, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    phase = generator.uniform(0.0, 2.0 * np.pi) + _TURN * np.arange(length)
    height = _RISE * (np.arange(length) if upwards else np.arange(length) - (length - 1.0))
    across = _RADIUS * (np.cos(phase)[:, None] * side + np.sin(phase)[:, None] * np.cross(along, side))
    return np.asarray(axis_at + across + height[:, None] * along)


def _arc(before: Array, after: Array, count: int, generator: np.random.Generator) -> Array:
    """`count` points from the end of one helix to the start of the next, bulging in the direction it ran."""
    outwards = before[-1] - before[-4]
    outwards /= np.linalg.norm(outwards)
    fraction = np.arange(1, count + 1)[:, None] / (count + 1)
    straight = before[-1] + fraction * (after[0] - before[-1])
    bulge = 1.6 * (count + 1) * np.sin(np.pi * fraction) * outwards
    return np.asarray(straight + bulge + generator.normal(scale=0.3, size=(count, 3)))


def _relaxed(trace: _Trace, rounds: int = 400) -> _Trace:
    """The trace with its loops pulled into shape: bonds of 3.8 Å, no sharp kinks, nothing too close. Helices stay."""
    positions = trace.positions.copy()
    count = len(positions)
    free = np.ones(count)
    for first, last in trace.helices:
        free[first:last] = 0.0
    pairs = np.array([(i, j) for i, j in itertools.combinations(range(count), 2) if free[i] or free[j]])
    steps = pairs[:, 1] - pairs[:, 0]
    low = np.select([steps == 1, steps == 2], [CALPHA_DISTANCE, 5.2], 5.5)
    high = np.select([steps == 1, steps == 2], [CALPHA_DISTANCE, 7.1], np.inf)
    for round_ in range(rounds):
        chosen = slice(None) if round_ < rounds - 100 else steps == 1  # bonds have the last word
        first, second = pairs[chosen].T
        gap = positions[second] - positions[first]
        length = np.linalg.norm(gap, axis=1)
        miss = np.clip(length, low[chosen], high[chosen]) - length
        push = (0.5 * miss / length / np.maximum(free[first] + free[second], 1.0))[:, None] * gap
        np.add.at(positions, first, -push * free[first][:, None])
        np.add.at(positions, second, push * free[second][:, None])
    return _Trace(positions, trace.helices)


def _sequence(trace: _Trace, generator: np.random.Generator) -> list[str]:
    """Residue names: greasy where the side chain points into its domain, charged where it points out."""
    helical = np.zeros(len(trace.positions), dtype=bool)
    for first, last in trace.helices:
        helical[first:last] = True
    names = []
    for i, place in enumerate(trace.positions):
        if not 0 < i < len(helical) - 1 or not helical[i]:
            names.append(str(generator.choice(_IN_LOOPS)))
            continue
        outwards = 2.0 * place - trace.positions[i - 1] - trace.positions[i + 1]
        ahead = place + 6.0 * outwards / np.linalg.norm(outwards)
        crowd = int((np.linalg.norm(trace.positions - ahead, axis=1) < 8.0).sum())
        names.append(str(generator.choice(_BURIED if crowd > 9 else _EXPOSED)))
    return names


def _as_structure(residues: list[BuiltResidue], helices: tuple[tuple[int, int], ...]) -> gemmi.Structure:
    chain = gemmi.Chain("A")
    for number, built in enumerate(residues, start=1):
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.het_flag = built.name, gemmi.SeqId(number, " "), "A"
        for name, (x, y, z) in zip(built.atoms, built.positions.tolist(), strict=True):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.occ, atom.b_iso = name, gemmi.Element(name[0]), 1.0, 30.0
            atom.pos = gemmi.Position(x, y, z)
            residue.add_atom(atom)
        chain.add_residue(residue)
    structure, model = gemmi.Structure(), gemmi.Model(1)
    structure.name = "two_domain_protein"
    model.add_chain(chain)
    structure.add_model(model)
    for first, last in helices:
        helix = gemmi.Helix()
        helix.start, helix.end = (_address(structure[0][0], i) for i in (first, last - 1))
        helix.pdb_helix_class = gemmi.Helix.HelixClass.RAlpha
        helix.length = last - first
        structure.helices.append(helix)
    return structure


def _address(chain: gemmi.Chain, index: int) -> gemmi.AtomAddress:
    residue = chain[index]
    return gemmi.AtomAddress(chain.name, residue.seqid, residue.name, "")
