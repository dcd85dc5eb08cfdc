"""Training by one and by two processes on this machine, and what 10⁷ images take: blocks of docs/scaling.md.

    python benchmarks/scaling.py            both, some eight minutes on two cores
    python benchmarks/scaling.py processes  the measured one; `plan` computes the other from its rates

Nothing else should compute meanwhile.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from page import DOCS, write_block

from cryosphere.model.lifting import LiftingGrid
from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.write import write_model
from cryosphere.training.run_directory import RunDirectory
from cryosphere.training.trained import TrainedModel

PAGE, COMMAND = "scaling.md", "python benchmarks/scaling.py"
IMAGES, BOX, PIXEL = 2048, 190, 1.2  # pixels, Å
RESIDUES = (500, 506)
EPOCHS = 4  # the first one also compiles; the fastest of the others counts
ROUNDS = 3  # over all ways, since whatever else the machine does comes and goes
WAYS = ((1, 1), (2, 1), (1, 2))  # processes, threads each
BATCHES = (128, 512)
MANY, GPUS = 10_000_000, 64
BOXES = (96, 128, 190, 256)
RATES = (8_000, 40_000)  # images per second and GPU
RATE = re.compile(r"(preprocessing|placing) images.*: \d+/(\d+) in .*\(([\d.]+)/s\)")


@dataclass(frozen=True)
class Found:
    """One way to train."""

    processes: int
    threads: int
    batch: int
    box: int  # pixels that are trained on
    images_per_second: float
    preprocessing: float  # images per second
    placing: float


def main() -> None:
    """Write the blocks that are asked for."""
    wanted = sys.argv[1:] or ["processes", "plan"]
    with TemporaryDirectory() as folder:
        place = Path(folder)
        make_images(place)
        rounds = ROUNDS if "processes" in wanted else 0
        every = [[train(place, *way, batch) for batch in BATCHES for way in WAYS] for _ in range(rounds)]
        found = [fastest(some) for some in zip(*every, strict=True)]
        if found:
            write_block("processes", measured(found), f"{COMMAND} processes", PAGE)
        if "plan" in wanted:
            one = found[0] if found else train(place, 1, 1, BATCHES[0])
            write_block("plan", plan(place, one), f"{COMMAND} plan", PAGE, how="Computed")
    print(DOCS / PAGE)


def make_images(folder: Path) -> None:
    """A protein of a thousand residues that opens, seen IMAGES times."""
    protein = two_domain_protein(0, residues=RESIDUES)
    write_model(folder / "protein.cif", protein.model)
    images = ImageSettings(count=IMAGES, box=BOX, pixel_size=PIXEL, snr=0.1)
    config = SimulationConfig(model=folder / "protein.cif", motion=protein.opening(40.0, 50), images=images, seed=1)
    simulate(config, folder / "data")


def fastest(some: Sequence[Found]) -> Found:
    """The highest of every rate."""
    rates = ("images_per_second", "preprocessing", "placing")
    return replace(some[0], **{name: max(getattr(one, name) for one in some) for name in rates})


def train(folder: Path, processes: int, threads: int, batch: int) -> Found:
    """Train in a place of its own, so that nothing is found prepared."""
    place = folder / f"{processes}-{threads}-{batch}"
    shutil.rmtree(place, ignore_errors=True)
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    inputs = ["--particles", str(folder / "data/particles.star"), "--model", str(folder / "protein.cif")]
    sizes = ["--segments", "25", "--epochs", str(EPOCHS), "--batch-size", str(batch), "--device", "cpu"]
    lean = ["--set", "training.second_look=false", "--set", "segmentation.join=false"]
    command = [sys.executable, *launcher, "-m", "cryosphere", "train", *inputs, *sizes, *lean]
    done = subprocess.run(  # noqa: S603
        [*command, "--outdir", str(place / "run")],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    rates = {what: float(rate) for what, _, rate in RATE.findall(done.stderr)}
    rate = pd.read_csv(place / "run" / "metrics.csv")["images_per_second"][1:].max()
    box = RunDirectory(place / "run").read_config().images.box or BOX
    found = Found(processes, threads, batch, box, float(rate), rates["preprocessing"], rates["placing"])
    print(found, flush=True)
    return found


def measured(found: list[Found]) -> str:
    """The table, with what else the machine was doing."""
    lines = [
        "| images per step | processes | threads each | training, images/s | of one process | preprocessing, images/s "
        "| lifting, images/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        alone = next(f for f in found if f.batch == one.batch and (f.processes, f.threads) == (1, 1))
        lines.append(
            f"| {one.batch} | {one.processes} | {one.threads} | {one.images_per_second:,.0f} "
            f"| {one.images_per_second / alone.images_per_second:.2f} | {one.preprocessing:,.0f} | {one.placing:,.0f} |"
        )
    size = f"{IMAGES:,} images of {BOX}² at {PIXEL:g} Å, cropped to {found[0].box}², {sum(RESIDUES):,} residues"
    load = os.getloadavg()[0]
    return "\n".join(lines) + (
        f"\n\n{size}, 25 segments; the highest of {ROUNDS} rounds of {EPOCHS - 1} epochs. The machine's load at the "
        f"end was {load:.1f}."
    )


def plan(folder: Path, one: Found) -> str:
    """What MANY images take on disk, from disk, between the GPUs, and in preparation."""
    model = TrainedModel.load(folder / f"{one.processes}-{one.threads}-{one.batch}" / "run", device="cpu")
    positions = model.atomic_model.beads.positions
    lifted = 2 * len(LiftingGrid.around(positions, LiftingGrid.per_axis(positions)).points)
    parameters = sum(p.numel() for p in model.network.parameters())
    lines = [
        "| box kept | bytes per image | 10⁷ images | with lifted features | read per GPU at 8,000 images/s | at 40,000 "
        f"| all {GPUS} GPUs at 40,000 |",
        "|---|---|---|---|---|---|---|",
    ]
    for box in BOXES:
        size = 4 * box * (box // 2 + 1) + 4
        both = size + lifted + 4
        per_gpu = [rate * both / 1e9 for rate in RATES]
        lines.append(
            f"| {box} | {size:,} | {MANY * size / 1e12:.2f} TB | {MANY * both / 1e12:.2f} TB | {per_gpu[0]:.2f} GB/s "
            f"| {per_gpu[1]:.2f} GB/s | {GPUS * per_gpu[1]:,.0f} GB/s |"
        )
    sent = 4 * parameters
    hours = [MANY / rate / 3600 for rate in (one.preprocessing, one.placing)]
    facts = {
        "lifted features": f"{lifted:,} bytes per image, {MANY * lifted / 1e9:,.0f} GB for all",
        "parameters": f"{parameters:,}; their gradient is {sent / 1e6:.1f} MB per step, of which a ring sends "
        f"{2 * sent * (GPUS - 1) / GPUS / 1e6:.1f} MB out of each GPU",
        "preprocessing": f"{hours[0]:.1f} hours of one core at the rate measured here, "
        f"{60 * hours[0] / GPUS:.1f} minutes shared by {GPUS} processes",
        "lifting": f"{hours[1]:.1f} hours of one core, {60 * hours[1] / GPUS:.1f} minutes shared",
        "six epochs": " or ".join(f"{6 * MANY / GPUS / rate:.0f} s at {rate:,} images/s and GPU" for rate in RATES),
    }
    return "\n".join(lines) + "\n\n" + "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


if __name__ == "__main__":
    main()
