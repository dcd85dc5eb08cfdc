"""Memory and speed of training on more images than fit in memory, beside a small set that the system caches.

    python benchmarks/memory.py --folder DIR [--images 300000]

A small stack is simulated, and its particles are named again and again until there are enough: preprocessing makes an
image of each in the cache, so that training reads as many bytes from the disk as if all were different. DIR needs room
for the cache: 132 kB for each image of 256 pixels. What was measured stands in DIR/measured.json and is not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from page import write_block

from cryosphere.particles.read import read_particles
from cryosphere.particles.star import write_star
from cryosphere.simulation.config import SimulationConfig
from cryosphere.simulation.image_config import ImageSettings
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.write import write_model

BOX, PIXEL_SIZE = 256, 1.0
DIFFERENT = 2000  # images simulated
SMALL = 6000  # images of the set that is compared with
SETTINGS = ("training.second_look=false", "segmentation.join=false", f"images.box={BOX}")


def simulated(folder: Path) -> tuple[Path, Path]:
    """A particle file and a model."""
    protein = two_domain_protein(0, residues=(600, 406))
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(40.0, 200),
        images=ImageSettings(count=DIFFERENT, box=BOX, pixel_size=PIXEL_SIZE, snr=0.05),
        seed=0,
    )
    done = simulate(config, folder / "data")
    return done.particles, done.model


def named_again(particles: Path, count: int, path: Path) -> Path:
    """A particle file that names the images of another one over and over."""
    table = read_particles(particles)
    write_star(path, table[np.arange(count) % len(table)])
    return path


def trained(particles: Path, datadir: Path, model: Path, outdir: Path, epochs: int) -> dict[str, float]:
    """Train in a process of its own: its peak memory, and what its last epoch says of speed."""
    command = [sys.executable, "-m", "cryosphere", "train", "--outdir", str(outdir), "--epochs", str(epochs)]
    command += ["--particles", str(particles), "--datadir", str(datadir), "--model", str(model), "--overwrite"]
    command += [word for setting in SETTINGS for word in ("--set", setting)]
    began = time.monotonic()
    process = subprocess.Popen(command)  # noqa: S603 (our own command)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"training failed: {' '.join(command)}")
    with (outdir / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        "images_per_second": float(rows[-1]["images_per_second"]),
        "epoch_seconds": float(rows[-1]["epoch_seconds"]),
        "seconds": time.monotonic() - began,
        "peak_gb": usage.ru_maxrss * 1024 / 1e9,
    }


def main() -> None:
    """Measure both and write the table into docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=300_000)
    options = parser.parse_args()
    particles, model = simulated(options.folder)
    table = ["| images | in the cache, GB | peak resident memory, GB | images/s of an epoch | all of it, min |"]
    table += ["|---|---|---|---|---|"]
    notes = options.folder / "measured.json"
    found = json.loads(notes.read_text()) if notes.exists() else {}
    for count, epochs in ((options.images, 1), (SMALL, 2)):
        if str(count) not in found:
            star = named_again(particles, count, options.folder / f"particles-{count}.star")
            found[str(count)] = trained(star, particles.parent, model, options.folder / f"run-{count}", epochs)
            notes.write_text(json.dumps(found, indent=2))
    for count in (SMALL, options.images):
        result = found[str(count)]
        cached = count * BOX * (BOX // 2 + 1) * 4 / 1e9
        table.append(
            f"| {count:,} | {cached:.1f} | {result['peak_gb']:.2f} | {result['images_per_second']:.0f} | "
            f"{result['seconds'] / 60:.1f} |"
        )
    loss = 1 - found[str(options.images)]["images_per_second"] / found[str(SMALL)]["images_per_second"]
    table += ["", f"Throughput lost against the small set: {100 * max(loss, 0):.0f} %."]
    command = f"python benchmarks/memory.py --folder DIR --images {options.images}"
    write_block("memory", "\n".join(table), command, "performance.md")


if __name__ == "__main__":
    main()
