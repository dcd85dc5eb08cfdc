"""How long a consensus map takes, and how right it is: blocks of docs/before-the-run.md.

    python benchmarks/backprojection.py          all, some ten minutes on two cores and 3 GB in the temporary folder
    python benchmarks/backprojection.py speed    20,000 images of 128², end to end; `truth` compares maps of images
                                                 without noise with the density, `padding` images with and without zeros

Each block is printed, and written to the page where that has a place for it. Nothing else should compute meanwhile.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from page import DOCS, write_block

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import bead_volumes
from cryosphere.maps.fsc import shell_correlations, volume_spectra
from cryosphere.maps.reconstruction import Reconstruction, ReconstructionSettings, reconstruct_particles
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.simulation.config import DistributedCtf, ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import Simulation, simulate
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model

PAGE, COMMAND = "before-the-run.md", "python benchmarks/backprojection.py"
IMAGES, BOX, PIXEL = 20_000, 128, 2.0  # pixels, Å
RESIDUES = (150, 100)
NO_NOISE, NOISE = 1e9, 0.05  # signal-to-noise ratios
COUNTS = (300, 1_000, 5_000, IMAGES)  # without noise
PADDED_COUNTS = (500, 2_000, 10_000)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the Nyquist frequency
ROUNDS = 2
ENOUGH = 0.99


def main() -> None:
    """Write the blocks that are asked for."""
    wanted = sys.argv[1:] or ["speed", "truth", "padding"]
    with TemporaryDirectory() as folder:
        place = Path(folder)
        noisy = images(place / "noisy", NOISE) if {"speed", "padding"} & set(wanted) else None
        if noisy is not None and "speed" in wanted:
            block("backprojection-speed", speed(noisy, place), f"{COMMAND} speed")
        if noisy is not None and "padding" in wanted:
            block("backprojection-padding", padding(noisy), f"{COMMAND} padding")
        if "truth" in wanted:
            block("backprojection-truth", truth(images(place / "noiseless", NO_NOISE)), f"{COMMAND} truth")


def block(name: str, text: str, command: str) -> None:
    """Print a block, and put it in its place where the page has one."""
    print(f"<!-- {name} begins -->\n{text}\n<!-- {name} ends -->\n", flush=True)
    page = DOCS / PAGE
    if page.exists() and f"<!-- {name} begins -->" in page.read_text(encoding="utf-8"):
        write_block(name, text, command, PAGE)


def images(folder: Path, snr: float) -> Simulation:
    """IMAGES images of a protein that does not move."""
    protein = two_domain_protein(0, residues=RESIDUES)
    folder.mkdir()
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(1e-3, 1),
        images=ImageSettings(count=IMAGES, box=BOX, pixel_size=PIXEL, snr=snr, shift=8.0),
        ctf=DistributedCtf(kind="distribution"),
        seed=1,
    )
    return simulate(config, folder / "data")


def speed(simulation: Simulation, folder: Path) -> str:
    """Seconds and memory of the command, start of Python and pictures included; the fastest of some rounds."""
    rows = ["| box of the map | seconds | images per second while adding | resolution said |", "|---|---|---|---|"]
    for box in (BOX, BOX // 2):
        found = [timed(simulation, folder / f"map-{box}-{k}", box) for k in range(ROUNDS)]
        seconds, rate, resolution = min(found)
        rows.append(f"| {box} | {seconds:.0f} | {rate:,.0f} | {resolution} |")
    return "\n".join(rows) + (
        f"\n\n{IMAGES:,} images of {BOX}² at {PIXEL:g} Å with {1 / NOISE:.0f} times as much noise as signal; the "
        f"faster of {ROUNDS} runs. The machine's load at the end was {os.getloadavg()[0]:.1f}."
    )


def timed(simulation: Simulation, outdir: Path, box: int) -> tuple[float, float, str]:
    """One run of the command: seconds, images per second, and the resolution it reports."""
    command = [sys.executable, "-m", "cryosphere", "backproject", "--particles", str(simulation.particles)]
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [*command, "--outdir", str(outdir), "--box", str(box), "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    rate = re.search(r"adding images to the map: .* in .*\(([\d.]+)/s\)", done.stderr)
    resolution = re.search(r"resolution: (.*?) at 0\.143", done.stderr)
    return seconds, float(rate[1]) if rate else np.nan, resolution[1] if resolution else "?"


def truth(simulation: Simulation) -> str:
    """The correlation of maps of images without noise with the density, shell by shell."""
    heads = [f"{share:g}" for share in SHARES]
    rows = [
        f"| images | {' | '.join(heads)} | least up to 0.8 |",
        "|---|" + "---|" * (len(heads) + 1),
    ]
    for count in COUNTS:
        curve = agreement(simulation, reconstructed(simulation, count))
        at = [curve[round(share * BOX / 2)] for share in SHARES]
        least = curve[: int(0.8 * BOX / 2) + 1].min()
        verdict = f"{least:.4f}" + ("" if least >= ENOUGH else f" (below {ENOUGH:g})")
        rows.append(f"| {count:,} | {' | '.join(f'{value:.4f}' for value in at)} | {verdict} |")
    return "\n".join(rows) + (
        f"\n\nFourier shell correlation with the density that was simulated, at shares of the Nyquist frequency; "
        f"{BOX}² at {PIXEL:g} Å, defoci from 1 to 2.5 µm, shifts up to 8 Å."
    )


def padding(simulation: Simulation) -> str:
    """Half-maps of images that are padded with zeros before they are transformed, and of others."""
    rows = [
        "| images | resolution, padded | not padded | signal over noise, padded over not: median of shells |",
        "|---|---|---|---|",
    ]
    for count in PADDED_COUNTS:
        plain, padded = (reconstructed(simulation, count, padding) for padding in (1, 2))
        low, high = plain.curves.unmasked, padded.curves.unmasked
        told = (low > 0.1) & (high < 0.95)
        low, high = low[told], high[told]
        ratio = float(np.median(high / (1 - high) / (low / (1 - low))))
        rows.append(f"| {count:,} | {padded.resolution()} | {plain.resolution()} | {ratio:.2f} ({len(low)} shells) |")
    return "\n".join(rows) + (
        f"\n\nOf the unmasked half-maps, FSC / (1 - FSC) where the correlation tells; images of {BOX}² at {PIXEL:g} Å "
        f"with {1 / NOISE:.0f} times as much noise as signal."
    )


def reconstructed(simulation: Simulation, count: int, padding: int = 2) -> Reconstruction:
    """The map of the first images."""
    table = read_particles(simulation.particles)
    settings = ReconstructionSettings(device="cpu", padding=1 if padding == 1 else 2)
    return reconstruct_particles(table, ImageStacks(table), np.arange(count), settings)


def agreement(simulation: Simulation, found: Reconstruction) -> np.ndarray:
    """Correlation of a map with the density of the beads that were simulated, per shell."""
    beads = read_model(simulation.model).beads
    positions, amplitudes = (torch.as_tensor(x, dtype=torch.float64) for x in (beads.positions, beads.amplitudes))
    density = bead_volumes(positions[None], amplitudes, ImageGrid(found.grid.box, found.grid.pixel_size))
    volume = torch.from_numpy(found.map).double()[None]
    return np.asarray(shell_correlations(volume_spectra(volume), volume_spectra(density))[0].numpy())


if __name__ == "__main__":
    main()
