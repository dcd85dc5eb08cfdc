"""The main job on a protein that nobody has to download: simulate, train, analyse, compare with the truth.

Everything goes through the same files and functions as real data: a model file, a STAR file, a stack of images.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from cryosphere.analysis.analyze import analyze
from cryosphere.errors import ConfigError, RunError
from cryosphere.evaluation.evaluate import Evaluation, evaluate
from cryosphere.evaluation.wording import describe
from cryosphere.progress import SILENT, Progress
from cryosphere.settings import write_yaml
from cryosphere.simulation.config import DistributedCtf, ImageSettings, SimulationConfig
from cryosphere.simulation.protein import TwoDomainProtein, two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.write import write_model
from cryosphere.training.configure import configure
from cryosphere.training.train import train

log = logging.getLogger(__name__)

LARGEST_ANGLE = 60.0  # degrees by which the hinge opens
SEGMENTS = 4
EPOCHS = 12
FEWEST_IMAGES = 100
NAMES = ("domain 1", "domain 2")  # the second one moves
SETTINGS = "simulation.yaml"
HEADING = "what `cryosphere demo` simulates; see `cryosphere simulate`"


@dataclass(frozen=True)
class Demo:
    """A finished demo: what was found, and where it lies."""

    evaluation: Evaluation
    report: Path
    run: Path
    seconds: float
    text: str  # in plain words


def demo(outdir: str | Path, *, images: int = 10_000, seed: int = 0, progress: Progress = SILENT) -> Demo | None:
    """Simulate a hinge protein, learn its motion from the images, and say what was found against the truth.

    A demo that already lies in `outdir` is replaced. Returns None if Ctrl-C or SIGTERM stopped the training.

    Raises:
        ConfigError: for too few images or an unusable seed; nothing is touched then.
        RunError: if `outdir` holds something else, or cannot be written to.
    """
    began = time.monotonic()
    folder = Path(outdir)
    _check(images, seed)
    protein = two_domain_protein(seed)
    config = _describe_simulation(protein, folder / "protein.cif", images, seed)
    _clear(folder)
    relative = config.model_copy(update={"model": Path("protein.cif")})
    write_yaml(folder / SETTINGS, relative, heading=HEADING)  # first: it tells that this is a demo, even a broken one
    write_model(folder / "protein.cif", protein.model)
    data = simulate(config, folder / "data", progress=progress)
    run = folder / "run"
    settings = configure(particles=[data.particles], model=data.model, segments=SEGMENTS, epochs=EPOCHS, seed=seed)
    if train(settings, run, progress=progress) == "stopped":
        return None
    report = analyze(run, progress=progress) / "report.html"
    domains = [f"{name}=A:{first}-{last}" for name, (first, last) in zip(NAMES, protein.domains, strict=True)]
    # the second comes first: its turn against the first one is measured
    evaluation = evaluate(
        run, data.truth_path, domains=domains[::-1], oracle_images=500, fsc_images=20, progress=progress
    )
    seconds = time.monotonic() - began
    return Demo(evaluation, report, run, seconds, _in_words(evaluation, protein, folder, seconds))


def _check(images: int, seed: int) -> None:
    if images < FEWEST_IMAGES:
        raise ConfigError(f"{images} images asked for; the demo needs at least {FEWEST_IMAGES} (--images)")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"the seed is {seed}; it must be a whole number from 0 to 2^63 - 1 (--seed)")


def _clear(folder: Path) -> None:
    """Make the folder, and remove an earlier demo from it, and nothing else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except FileExistsError:
        raise RunError(f"{folder} is a file, not a folder; choose another --outdir") from None
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}; choose another --outdir") from error
    if not occupied:
        return
    if not _is_demo(folder):
        raise RunError(f"{folder} holds something other than a demo; choose another --outdir")
    for name in ("data", "run", "cryosphere-cache"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _is_demo(folder: Path) -> bool:
    """Whether the settings of a demo lie here; `cryosphere simulate` writes a file of the same name."""
    try:
        return (folder / SETTINGS).read_text(encoding="utf-8").startswith(f"# {HEADING}\n")
    except (OSError, UnicodeDecodeError):
        return False


def _describe_simulation(protein: TwoDomainProtein, model: Path, images: int, seed: int) -> SimulationConfig:
    return SimulationConfig(
        model=model,
        motion=protein.opening(LARGEST_ANGLE, 1000),
        images=ImageSettings(count=images, box=64, pixel_size=2.5, snr=0.1, shift=5.0),
        ctf=DistributedCtf(kind="distribution"),
        seed=seed,
    )


def _in_words(evaluation: Evaluation, protein: TwoDomainProtein, folder: Path, seconds: float) -> str:
    (first, hinge), (after, last) = protein.domains
    nearest = min((after for _, after in evaluation.boundaries), key=lambda number: abs(number - hinge), default=None)
    found = (
        f"A boundary between segments lies after residue {nearest}."
        if nearest is not None
        else "No boundary was found: everything is one segment."
    )
    still, moving = NAMES
    return (
        f"The protein: {still} is residues {first}-{hinge}, {moving} residues {after}-{last}; {moving} turns by 0 to "
        f"{LARGEST_ANGLE:.0f} degrees about a hinge between them.\n{found}\n{describe(evaluation)}\n"
        f"The report: {folder / 'run' / 'analysis' / 'report.html'}\n"
        f"The structures along the motion, for ChimeraX: {folder / 'run' / 'analysis' / 'traversals'}\n"
        f"Every image's own structure: cryosphere structures {folder / 'run'} --output {folder / 'structures'}\n"
        f"The whole demo took {seconds / 60:.1f} minutes."
    )
