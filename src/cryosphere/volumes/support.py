"""How much of each residue that a model has is in the density: amplitudes along the chain by joint least squares."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from cryosphere.errors import InputError
from cryosphere.volumes.expected import Residues, SeenMap

log = logging.getLogger(__name__)

Float = NDArray[np.float64]

_REACH = 28.0  # Å: residues further from each other than this are not weighed against each other
_REACH_RESOLUTIONS = 2.5  # or so many times the resolution of the map
MOST_PAIRS = 20_000_000  # of residues within reach of each other, which take 2 GB; with more, the reach is shortened
_SHORTENINGS = np.linspace(1.0, 0.05, 39)  # shares of the reach that are tried
_ROWS_AT_ONCE = 1000  # residues whose neighbours are listed together
_STEP = 0.05  # by which amplitudes usually differ from residue to residue; jumps are rare but free
_ROUNDS = 5  # of gain and amplitudes in turn
_JOINT_ROUNDS = 2  # of all states together
_REWEIGHTINGS = 4  # of the chain's steps in each
_CHUNK, _MARGIN = 1500, 15.0  # residues whose errors are found at a time, and Å around them that count
HALF_WINDOW = 4  # residues to either side that a residue is judged with
_TOLERANCE = 1e-6  # of the linear solution


@dataclass(frozen=True)
class Support:
    """How much of each residue is in a map: amplitude (1: as much as of most), and its standard error; (R,) each."""

    amplitude: Float
    error: Float

    @property
    def support(self) -> Float:
        """(R,) from 0, nothing of the residue is in the density, to 1, all is."""
        return np.clip(self.amplitude, 0.0, 1.0)

    def along(self, bonded: NDArray[np.int64]) -> Support:
        """Means over windows of nine residues along the chains; their errors are not taken for independent."""
        return Support(*(window_means(values, bonded) for values in (self.amplitude, self.error)))


@dataclass(frozen=True)
class Equations:
    """Normal equations of the amplitudes of all residues: information between them (R, R), and what the map says."""

    information: sparse.csr_matrix
    right: Float

    @classmethod
    def of(cls, seen: SeenMap, reach: float, states: float = 1.0) -> Equations:
        """Of a map ≈ Σ a_i g ρ_i, each shell weighted by one over its variance; `reach` in Å, as `reach_of` tells.

        Both residues' densities are round, so that ⟨ρ_i, ρ_j⟩ under the weights is a function K of their distance
        alone. It is multiplied by a function of compact support that is positive definite too (Wendland 1995), so
        that few pairs count, however large the structure; the same change of weights is made on the map's side. What
        is still left out is made good by telling the map's side as a change of `seen.amplitudes`: where these solve
        the equations, they solve them without anything left out. Of a residue that is blurred over several places the
        left side knows its own information, and the right side all of them.
        """
        shells, residues = seen.shells, seen.residues
        power, blur = _local_power(seen, reach, states)
        radii = np.linspace(0.0, reach, 2048)
        kernel = _radial(power * shells.coefficients, shells.frequencies, radii) / shells.grid.box**3
        electrons = residues.electrons * _sharpness(residues, radii, kernel)
        information = _information(residues.places, electrons, radii, kernel)
        told = power > 0
        factor = np.where(told, power / np.where(told, seen.gain * blur, 1.0), 0.0)
        unexplained = shells.filtered(seen.spectrum, factor) - shells.filtered(seen.model, factor * seen.gain)
        right = residues.electrons * residues.mean_of(unexplained, shells.grid)
        return cls(information, right + information @ seen.amplitudes)

    @classmethod
    def mean(cls, several: Iterable[Equations]) -> Equations:
        """What several maps say together, as of one; each is added and forgotten before the next is asked for."""
        rest = iter(several)
        first, count = next(rest), 1
        information, right = first.information, first.right
        for one in rest:
            information, right = information + one.information, right + one.right
            count += 1
        return cls(sparse.csr_matrix(information / count), right / count)

    def solve(self, bonded: NDArray[np.int64], start: Float) -> tuple[Float, sparse.csr_matrix]:
        """The most probable amplitudes (R,), and the precision there of what is known before the map is seen.

        Before the map is seen, the mean of all amplitudes is 1 ± 1; from residue to residue along a chain they differ
        by a Cauchy distribution of width 0.05: nearly constant, but free to jump. Steps are reweighted in turn with
        the solution.
        """
        amplitudes = start
        for _ in range(_REWEIGHTINGS):
            chain = _chain(amplitudes, bonded)
            precision = self.information + chain
            right = self.right + 1 / len(start)
            scaling = sparse.diags(1 / precision.diagonal())
            amplitudes, failed = cg(precision, right, amplitudes, rtol=_TOLERANCE, maxiter=2000, M=scaling)
            if failed:
                raise InputError("the support of the residues cannot be found: their equations do not converge")
        return np.asarray(amplitudes), chain

    def errors(self, chain: sparse.csr_matrix, places: Float) -> Float:
        """Standard errors of amplitudes (R,): roots of the inverse precision's diagonal.

        For some residues at a time with those around them. What is known of chains before the map is seen ends where
        these end: held to residues that are left out, it would make those at the cuts far too sure.
        """
        count, errors = len(places), np.zeros(len(places))
        for some, around in _neighbourhoods(places):
            own = chain[around][:, around]
            held = np.asarray(own.sum(axis=1)).ravel() - 1 / count  # by residues that are left out
            precision = self.information[around][:, around] + own - sparse.diags(held)
            inverse = np.linalg.inv(precision.toarray())
            errors[some] = np.sqrt(np.diag(inverse)[np.searchsorted(around, some)])
        return errors


def find_support(
    maps: Sequence[SeenMap],
    bonded: NDArray[np.int64],
    resolutions: Sequence[float],
    independent: float,
    done: Callable[[], None] = lambda: None,
) -> tuple[Support, list[Support]]:
    """Support of the residues in several states together, and in each alone.

    maps: of the states, each with the residues where they are in it. bonded (P, 2): neighbours in a chain.
    resolutions: Å, of the maps. independent: as how many separate sets of images the states count. done: called after
        each state.

    Gains are found with the amplitudes known so far, and these with the gains, in turn. What a structure's errors
    leave is shared by the states; only noise averages away when they are taken together.
    """
    amplitudes = np.ones(len(maps[0].residues.places))
    each: list[Support] = []
    reaches = [reach_of(seen.residues.places, one) for seen, one in zip(maps, resolutions, strict=True)]
    for seen, reach in zip(maps, reaches, strict=True):
        own = amplitudes
        for _ in range(_ROUNDS):
            seen.compare(own)
            told = Equations.of(seen, reach)
            own, chain = told.solve(bonded, own)
            own, scale = _scaled(own)
        each.append(_with_scatter(own, told.errors(chain, seen.residues.places) / scale))
        done()
    joint = np.mean([one.amplitude for one in each], axis=0)
    for _ in range(_JOINT_ROUNDS):
        for seen in maps:
            seen.compare(joint)
        pairs = zip(maps, reaches, strict=True)
        together = Equations.mean(Equations.of(seen, reach, independent) for seen, reach in pairs)
        joint, chain = together.solve(bonded, joint)
        joint, scale = _scaled(joint)
    return _with_scatter(joint, together.errors(chain, maps[0].residues.places) / scale), each


def reach_of(places: Float, resolution: float, most: int = MOST_PAIRS) -> float:
    """Å within which residues at `places` (R, 3) are weighed against each other in a map of this resolution, in Å.

    Where more than `most` pairs would be, it is so much shorter: what is then left out of the equations is told by
    the map's side (see `Equations.of`), so that amplitudes hardly change, and memory is bounded.
    """
    wanted = max(_REACH, _REACH_RESOLUTIONS * resolution if np.isfinite(resolution) else 0.0)
    count = len(places)
    if count * (count - 1) // 2 <= most:
        return wanted
    tree, found = cKDTree(places), wanted * float(_SHORTENINGS[-1])
    for reach in wanted * _SHORTENINGS[::-1]:  # from the shortest, for which pairs are counted fastest
        if (int(tree.count_neighbors(tree, reach)) - count) // 2 > most:
            break
        found = float(reach)
    else:
        return wanted
    log.info(
        "support: at %.1f Å residues would be weighed against all others within %.0f Å; more than %s pairs of %s "
        "residues are that near, and %.0f Å is taken",
        resolution,
        wanted,
        f"{most:,}",
        f"{count:,}",
        found,
    )
    return found


def window_means(values: Float, bonded: NDArray[np.int64]) -> Float:
    """Mean of each residue's value (R,) and of up to four residues before and after it in its chain."""
    count = len(values)
    follows = np.zeros(count + 1, dtype=bool)
    follows[bonded[:, 1]] = True  # to the residue before it
    starts = np.flatnonzero(~follows)  # of chains; the last is the end of all
    piece = np.cumsum(~follows[:-1]) - 1
    rows = np.arange(count)
    low = np.maximum(rows - HALF_WINDOW, starts[piece])
    high = np.minimum(rows + HALF_WINDOW + 1, starts[piece + 1])
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _information(places: Float, electrons: Float, radii: Float, kernel: Float) -> sparse.csr_matrix:
    """Between all residues within the last radius of each other, themselves included: a function of their distance."""
    tree, parts = cKDTree(places), []
    for start in range(0, len(places), _ROWS_AT_ONCE):
        some = cKDTree(places[start : start + _ROWS_AT_ONCE])
        near = some.sparse_distance_matrix(tree, radii[-1], output_type="ndarray")
        values = electrons[start + near["i"]] * electrons[near["j"]] * np.interp(near["v"], radii, kernel)
        parts.append(sparse.csr_matrix((values, (near["i"], near["j"])), shape=(some.n, len(places))))
    return sparse.csr_matrix(sparse.vstack(parts, format="csr"))


def _sharpness(residues: Residues, radii: Float, kernel: Float) -> Float:
    """(R,): root of what is left of each residue's information where it is blurred over several places."""
    samples = residues.samples
    total = np.zeros(samples.shape[1])
    for one in samples:
        apart = np.linalg.norm(samples - one, axis=-1)
        total += np.interp(apart, radii, kernel, right=0.0).sum(axis=0)
    left = np.clip(total / len(samples) ** 2 / max(float(kernel[0]), 1e-300), 1e-6, 1.0)
    return np.asarray(np.sqrt(left), dtype=np.float64)


def _local_power(seen: SeenMap, reach: float, states: float) -> tuple[Float, Float]:
    """Information times the beads' blur squared, (shells,), smoothed so that it is local; and the blur."""
    shells = seen.shells
    frequencies, voxel = shells.frequencies, shells.grid.pixel_size
    blur = np.exp(-2 * (np.pi * seen.residues.sigma * frequencies) ** 2)
    sharp = seen.information(states) * blur**2
    radii = np.linspace(0.0, reach, 2048)
    kernel = _radial(sharp * shells.coefficients, frequencies, radii) / shells.grid.box**3
    share = radii / reach
    kernel = kernel * (1 - share) ** 4 * (4 * share + 1)
    step = radii[1] / voxel
    smooth = _radial(4 * np.pi * (radii / voxel) ** 2 * kernel * step, radii, frequencies)
    told = (sharp > 1e-4 * float(sharp.max())) & (sharp > 0)
    return np.where(told, np.maximum(smooth, 0.0), 0.0), blur


def _radial(values: Float, at: Float, wanted: Float) -> Float:
    """Σ_n values_n sin(2π r s_n) / (2π r s_n): a round function from one space to the other."""
    return np.asarray(np.sinc(2 * np.multiply.outer(wanted, at)) @ values)


def _chain(amplitudes: Float, bonded: NDArray[np.int64]) -> sparse.csr_matrix:
    """Precision of what is known before: a mean near 1, steps between neighbours mostly small."""
    count = len(amplitudes)
    first, second = bonded.T
    weights = 2 / (_STEP**2 + (amplitudes[first] - amplitudes[second]) ** 2)
    between = sparse.csr_matrix((weights, (first, second)), shape=(count, count))
    both = between + between.T
    own = np.asarray(both.sum(axis=1)).ravel() + 1 / count
    return sparse.csr_matrix(sparse.diags(own) - both)


def _scaled(amplitudes: Float) -> tuple[Float, float]:
    """Amplitudes in units of what most residues that are there have, and that unit."""
    there = amplitudes[amplitudes > 0.5 * np.percentile(amplitudes, 75)]
    scale = float(np.median(there)) if len(there) else 1.0
    scale = scale if scale > 0 else 1.0
    return amplitudes / scale, scale


def _with_scatter(amplitudes: Float, errors: Float) -> Support:
    """Errors that also hold how far residues scatter about 1: places of a model that are off by some Å."""
    scatter = 1.4826 * float(np.median(np.abs(amplitudes - np.median(amplitudes))))
    beyond = max(0.0, scatter**2 - float(np.median(errors)) ** 2)
    return Support(amplitudes, np.sqrt(errors**2 + beyond))


def _neighbourhoods(places: Float) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    for start in range(0, len(places), _CHUNK):
        some = np.arange(start, min(start + _CHUNK, len(places)))
        distances, _ = cKDTree(places[some]).query(places, distance_upper_bound=_MARGIN)
        yield some, np.flatnonzero(np.isfinite(distances))
