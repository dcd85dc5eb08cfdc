"""The main job: from particles and a model to a trained run."""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning_fabric import Fabric

from cryosphere.errors import ConfigError, RunError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.particles.star import write_star
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.model import AtomicModel
from cryosphere.structures.write import write_model
from cryosphere.training import checkpoints
from cryosphere.training.build import build_model, find_device, parts_of
from cryosphere.training.config import Config
from cryosphere.training.data import ParticleLoader
from cryosphere.training.prepare import Inputs, build_images, lifted_features, mean_base_correlation, read_inputs
from cryosphere.training.run_directory import RunDirectory, RunFacts, differing_keys
from cryosphere.training.trainer import Outcome, Trainer

log = logging.getLogger(__name__)

MAY_CHANGE_ON_RESUME = ("training.device", "training.checkpoint_minutes", "training.keep_checkpoints")


def train(
    config: Config,
    outdir: str | Path,
    *,
    existing: Literal["refuse", "resume", "overwrite"] = "refuse",
    progress: Progress = SILENT,
) -> Outcome:
    """Train a model on a data set and leave a run directory behind.

    Args:
        config: All settings; what is left open is completed.
        outdir: The run directory, made where it does not exist.
        existing: What to do if a run lies there already.
        progress: Shown how far everything is.

    Returns:
        "finished", or "stopped" if Ctrl-C or SIGTERM ended it (a checkpoint is saved then).

    Raises:
        InputError: for anything wrong with files or settings, before anything is written.
    """
    run = RunDirectory(Path(outdir))
    if existing == "refuse" and run.is_occupied():
        raise RunError(
            f"{run.root} already holds a run: go on with it by --resume, replace it by --overwrite, "
            "or choose another --outdir"
        )
    device = find_device(config.training.device)
    config = with_absolute_paths(config)
    inputs = read_inputs(config)
    parts_of(inputs.config, inputs.atomic_model.beads)
    resuming = existing == "resume" and run.is_occupied()
    if resuming:
        _require_same(run, inputs)
        if not run.checkpoints.exists():
            log.info("%s has no checkpoint yet: starting from the first step", run.root)
    elif existing == "overwrite":
        _remove(run)
    images = build_images(inputs, cache_folder(run), progress)
    torch.set_float32_matmul_precision("high")
    fabric = Fabric(accelerator="cuda" if device.type == "cuda" else "cpu", devices=1, precision="32-true")
    fabric.launch()
    lifted = None
    if inputs.config.encoder.kind == "lifted":
        lifted = lifted_features(images, inputs.atomic_model, inputs.config, device, progress)
    grid = ImageGrid(images.box, images.pixel_size)
    model = build_model(inputs.config, inputs.atomic_model.beads, grid, len(images), device)
    base = mean_base_correlation(images, inputs.atomic_model, inputs.config.beads.sigma)
    model.running_correlation.fill_(max(base, 0.01))
    if not resuming:
        _write_inputs(run, inputs, _facts(inputs, base, images.path, lifted))
    trainer = Trainer(model, ParticleLoader(images, lifted, device), inputs.config, run, fabric)
    if resuming:
        checkpoint = checkpoints.load_latest(run.checkpoints)
        if checkpoint is not None:
            trainer.resume(checkpoint)
            log.info("going on from %s (step %d)", checkpoint.path, trainer.state.step)
    _describe(inputs, images.box, images.pixel_size, model, base)
    return trainer.fit(progress)


def with_absolute_paths(config: Config) -> Config:
    """The same settings with absolute paths, so that a run can be read from anywhere."""
    particles = config.particles.model_copy(
        update={
            "files": tuple(path.absolute() for path in config.particles.files),
            "datadir": None if config.particles.datadir is None else config.particles.datadir.absolute(),
        }
    )
    return config.model_copy(update={"particles": particles, "model": config.model.absolute()})


def cache_folder(run: RunDirectory) -> Path:
    """Where preprocessed images lie: beside the run, so that other runs on the same data find them."""
    return run.root.absolute().parent / "cryosphere-cache"


def particles_fingerprint(table: ParticleTable) -> str:
    """Short hash of the particles' poses, CTFs and image names, in order."""
    digest = hashlib.sha256(",".join(table.stacks).encode())
    numbers = (table.rotations, table.shifts, table.defocus_u, table.defocus_v, table.defocus_angle, table.phase_shift)
    for column in (*numbers, table.stack_index, table.image_index):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:20]


def model_fingerprint(model: AtomicModel) -> str:
    """Short hash of the atoms' positions and the beads."""
    digest = hashlib.sha256(np.ascontiguousarray(model.positions).tobytes())
    digest.update(np.ascontiguousarray(model.beads.amplitudes).tobytes())
    return digest.hexdigest()[:20]


def _require_same(run: RunDirectory, inputs: Inputs) -> None:
    """Refuse to resume with other settings, particles or model."""
    run.require()
    changed = [
        change
        for change in differing_keys(run.read_config(), inputs.config)
        if not change.startswith(tuple(f"{key}:" for key in MAY_CHANGE_ON_RESUME))
    ]
    if changed:
        raise ConfigError(
            f"{run.root} was begun with other settings: {'; '.join(changed)}. Resume with the same ones "
            "(or with none: they are read from the run), or start anew with --overwrite"
        )
    facts = run.read_facts()
    if facts.particles_fingerprint != particles_fingerprint(inputs.table):
        raise RunError(f"the particles in {inputs.table.source} are not those that {run.root} was begun with")
    if facts.model_fingerprint != model_fingerprint(inputs.atomic_model):
        raise RunError(f"the atomic model {inputs.config.model} is not the one that {run.root} was begun with")


def _remove(run: RunDirectory) -> None:
    for path in run.own_files():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _facts(inputs: Inputs, base: float, images: Path, features: Path | None) -> RunFacts:
    return RunFacts(
        particles_fingerprint=particles_fingerprint(inputs.table),
        model_fingerprint=model_fingerprint(inputs.atomic_model),
        base_correlation=base,
        contrast_correlations=inputs.contrast_correlations,
        notes=list(inputs.notes),
        image_cache=str(images.absolute()),
        feature_cache=None if features is None else str(features.absolute()),
    )


def _write_inputs(run: RunDirectory, inputs: Inputs, facts: RunFacts) -> None:
    run.root.mkdir(parents=True, exist_ok=True)
    write_model(run.model_path, inputs.atomic_model)
    table = inputs.stacks.located()
    optics = tuple(replace(group, box=inputs.stacks.box) for group in table.optics)
    write_star(run.particles_path, replace(table, optics=optics))
    run.write_facts(facts)
    run.write_config(inputs.config)


def _describe(inputs: Inputs, box: int, pixel_size: float, model: HeterogeneityModel, base: float) -> None:
    log.info(
        "%d particles, %d pixels of %.3f Å; %d residues in up to %d segments; correlation with the unmoved model %.4f",
        len(inputs.table),
        box,
        pixel_size,
        len(inputs.atomic_model.beads),
        model.segmentation.count,
        base,
    )
