"""The main job: from particles and a model to a trained run."""

from __future__ import annotations

import hashlib
import logging
import shutil
from contextlib import ExitStack
from dataclasses import replace
from inspect import signature
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from cryosphere.distribution import World, find_device, join
from cryosphere.errors import ConfigError, ProcessLostError, RunError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.memory import keep_freed_memory
from cryosphere.model.vae import HeterogeneityModel
from cryosphere.particles.cache import CacheFolders, ParticleImages
from cryosphere.particles.star import write_star
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.model import AtomicModel
from cryosphere.structures.write import write_model
from cryosphere.training import checkpoints
from cryosphere.training.batch_size import choose_batch_size, measuring
from cryosphere.training.build import build_model, parts_of
from cryosphere.training.config import Config
from cryosphere.training.data import ParticleLoader, Split
from cryosphere.training.prepare import (
    CacheWork,
    Inputs,
    build_images,
    lifted_features,
    mean_base_correlation,
    read_inputs,
)
from cryosphere.training.run_directory import RunDirectory, RunFacts, differing_keys, no_empty_folders
from cryosphere.training.run_lock import results_alone, training_alone
from cryosphere.training.soundness import require_sound
from cryosphere.training.trainer import Outcome, Trainer

log = logging.getLogger(__name__)

_BUFFERS = "forward_sync_buffers"  # torch 2.13's name
if _BUFFERS not in signature(DistributedDataParallel).parameters:
    _BUFFERS = "broadcast_buffers"
_NO_BUFFERS_SENT: dict[str, Any] = {_BUFFERS: False}  # every process keeps them equal itself

Existing = Literal["refuse", "resume", "overwrite"]
_WHY_NOT_LONGER = (
    ". A run cannot be made longer: the learning rate and the weights of the loss change over all its epochs, so more "
    "of them would have been another run from the start (preprocessed images are found again)"
)
MAY_CHANGE_ON_RESUME = (
    "training.device",
    "training.images_at_once",
    "training.checkpoint_minutes",
    "training.keep_checkpoints",
)


def train(
    config: Config,
    outdir: str | Path,
    *,
    existing: Existing = "refuse",
    progress: Progress = SILENT,
) -> Outcome:
    """Train a model on a data set and leave a run directory behind.

    Args:
        config: All settings; what is left open is completed.
        outdir: The run directory, made where it does not exist.
        existing: What to do if a run lies there already.

    Returns:
        "finished", or "stopped" if Ctrl-C or SIGTERM ended it (a checkpoint is saved then).

    Raises:
        InputError: for anything wrong with files or settings; nothing is left behind then, and a run that was to be
            replaced is still there.
    """
    keep_freed_memory()
    world = join()
    run = RunDirectory(Path(outdir).absolute())
    with no_empty_folders(run.root, *run.cache_folders), ExitStack() as locks:
        with world.together():
            _check_place(run, existing)
            locks.enter_context(training_alone(run))
            _check_free(run, existing)
            device = find_device(config.training.device)
            inputs = read_inputs(with_absolute_paths(config))
            if existing == "resume":
                inputs = _with_its_batch_size(inputs, run)
            elif world.is_first:
                require_sound(inputs, progress)
            parts_of(inputs.config, inputs.atomic_model.beads)
            checkpoint = _checkpoint_to_resume(run, inputs) if existing == "resume" else None
        _require_same_everywhere(checkpoint, world)
        with ExitStack() as results:
            with world.together():
                if existing == "overwrite":
                    results.enter_context(results_alone(run, "replacing the run"))
            trainer = _prepare(run, inputs, existing, device, world, progress)
        if checkpoint is not None:
            trainer.resume(checkpoint)
            if trainer.state.epoch >= trainer.epochs:
                log.info("%s is finished: all %d epochs are done", run.root, trainer.state.epoch)
            else:
                log.info("going on from %s (step %d)", checkpoint.path, trainer.state.step)
        return _fit(trainer, progress)


def _fit(trainer: Trainer, progress: Progress) -> Outcome:
    try:
        return trainer.fit(progress)
    except ProcessLostError as error:
        raise ProcessLostError(
            f"{error}. What was learned up to the last checkpoint in {trainer.run.checkpoints} is kept: go on with "
            "--resume, on any number of processes"
        ) from error


def _check_place(run: RunDirectory, existing: Existing) -> None:
    """Refuse, before anything is read, an output folder that cannot be used as asked."""
    if existing == "resume":
        if not run.is_occupied():
            raise RunError(f"there is no run in {run.root} to go on with; without --resume a new one is begun")
        run.require()
    else:
        run.require_place()


def _check_free(run: RunDirectory, existing: Existing) -> None:
    """Refuse to begin where a run lies, now that no other process can begin one there."""
    if existing == "refuse" and run.is_occupied():
        raise RunError(
            f"{run.root} already holds a run: go on with it by --resume, replace it by --overwrite, "
            "or choose another --outdir"
        )


def _checkpoint_to_resume(run: RunDirectory, inputs: Inputs) -> checkpoints.Checkpoint | None:
    _require_same(run, inputs)
    checkpoint = checkpoints.load_latest(run.checkpoints)
    if checkpoint is None:
        log.info("%s has no checkpoint yet: starting from the first step", run.root)
    return checkpoint


def _require_same_everywhere(checkpoint: checkpoints.Checkpoint | None, world: World) -> None:
    """Refuse to go on where processes have read different checkpoints."""
    step = -1 if checkpoint is None else int(checkpoint.facts["state"]["step"])
    steps = sorted(set(world.gather(np.array([step])).tolist()))
    if len(steps) > 1:
        error = RunError(
            f"the machines of this job do not see the same checkpoints: the newest sound ones are of steps {steps}. "
            "Files of one of them may be late or damaged: start again in a minute"
        )
        raise world.told_once(error)


def _prepare(
    run: RunDirectory, inputs: Inputs, existing: Existing, device: torch.device, world: World, progress: Progress
) -> Trainer:
    """Preprocess the images, build the model, and write a new run's inputs; an old run goes only when all that is done.

    Everything that can be wrong with the images shows here, before the run directory is touched.
    """
    caches = CacheFolders(run.cache_folders)
    images = build_images(inputs, caches, progress, world)
    lifted = None
    if inputs.config.encoder.kind == "lifted":
        work = CacheWork(caches, progress, world)
        lifted = lifted_features(images, inputs.atomic_model, inputs.config, device, work)
    with world.together():
        grid = ImageGrid(images.box, images.pixel_size)
        model = build_model(inputs.config, inputs.atomic_model.beads, grid, len(images), device)
        base = _base_correlation(inputs, images)
        model.running_correlation.fill_(max(base, 0.01))
        loader = ParticleLoader(images, lifted, device, grid=model.projector.grid, world=world)
        if world.is_first:
            inputs = _with_batch_size(inputs, model, loader)
    inputs = _with_size_of_first(inputs, world)
    with world.together():
        if existing != "resume" and world.is_first:
            _begin(run, inputs, _facts(inputs, base, images.path, lifted.path if lifted else None))
        _describe(inputs, images.box, images.pixel_size, model, base)
    return Trainer(model, loader, inputs.config, run, _launched(device, world))


def _with_its_batch_size(inputs: Inputs, run: RunDirectory) -> Inputs:
    """The same with the images per step that were decided when the run was begun, unless others are asked for."""
    training = inputs.config.training
    if training.batch_size is not None:
        return inputs
    training = training.model_copy(update={"batch_size": run.read_config().training.batch_size})
    return replace(inputs, config=inputs.config.model_copy(update={"training": training}))


def _with_batch_size(inputs: Inputs, model: HeterogeneityModel, loader: ParticleLoader) -> Inputs:
    """The same with the images per step decided."""
    training = inputs.config.training
    if training.batch_size is not None:
        return inputs
    assert training.epochs is not None  # completed when the inputs were read
    rows = Split.of(inputs.config, len(loader)).train
    size, why = choose_batch_size(training.epochs * len(rows), measuring(model, loader, rows))
    log.info("%s", why)
    config = inputs.config.model_copy(update={"training": training.model_copy(update={"batch_size": size})})
    return replace(inputs, config=config, notes=(*inputs.notes, why))


def _with_size_of_first(inputs: Inputs, world: World) -> Inputs:
    """The same with the images per step that the first process decided on: the only one that has measured."""
    training = inputs.config.training
    size = int(world.from_first(np.array([training.batch_size or 0]))[0])
    config = inputs.config.model_copy(update={"training": training.model_copy(update={"batch_size": size})})
    return replace(inputs, config=config)


def _launched(device: torch.device, world: World) -> Fabric:
    kind = "cuda" if device.type == "cuda" else "cpu"
    if world.size == 1:
        fabric = Fabric(accelerator=kind, devices=1, precision="32-true")
        if device.type == "cuda" and (count := torch.cuda.device_count()) > 1:
            log.info(
                "this machine has %d GPUs, of which one is used; all are with: torchrun --nproc-per-node %d "
                "--no-python cryosphere train …",
                *(count, count),
            )
    else:
        fabric = Fabric(
            accelerator=kind,
            devices=world.local_size,
            num_nodes=world.size // world.local_size,
            strategy=DDPStrategy(gradient_as_bucket_view=True, **_NO_BUFFERS_SENT),
            plugins=[TorchElasticEnvironment()],
            precision="32-true",
        )
    fabric.launch()
    return fabric


def _base_correlation(inputs: Inputs, images: ParticleImages) -> float:
    base = mean_base_correlation(images, inputs.atomic_model, inputs.config.beads.sigma)
    if base < 0:
        log.warning(
            "the images correlate negatively with the projected model (%.4f): is the contrast %s right? "
            "--set images.contrast=auto finds out",
            base,
            inputs.config.images.contrast,
        )
    return base


def with_absolute_paths(config: Config) -> Config:
    """The same settings with absolute paths, so that a run can be read from anywhere."""
    particles = config.particles.model_copy(
        update={
            "files": tuple(path.absolute() for path in config.particles.files),
            "datadir": None if config.particles.datadir is None else config.particles.datadir.absolute(),
        }
    )
    return config.model_copy(update={"particles": particles, "model": config.model.absolute()})


def particles_fingerprint(table: ParticleTable) -> str:
    """Short hash of the particles' poses, CTFs and image names, in order."""
    digest = hashlib.sha256(",".join(table.stacks).encode())
    ctf = ("defocus_u", "defocus_v", "defocus_angle", "phase_shift", "b_factor", "ctf_scale")
    optics = ("voltage_kv", "spherical_aberration_mm", "amplitude_contrast", "pixel_size")
    columns = [table.rotations, table.shifts, table.stack_index, table.image_index]
    columns += [getattr(table, name) for name in ctf] + [table.optics_column(name) for name in optics]
    for column in columns:
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
            + (_WHY_NOT_LONGER if any(change.startswith("training.epochs:") for change in changed) else "")
        )
    facts = run.read_facts()
    if facts.particles_fingerprint != particles_fingerprint(inputs.table):
        raise RunError(
            f"the particles in {inputs.table.source} have changed since {run.root} was begun (poses, CTFs or image "
            "names): put the former file back, or start anew with --overwrite"
        )
    if facts.model_fingerprint != model_fingerprint(inputs.atomic_model):
        raise RunError(
            f"the atomic model {inputs.config.model} has changed since {run.root} was begun: put the former file back, "
            "or start anew with --overwrite"
        )


def _facts(inputs: Inputs, base: float, images: Path, features: Path | None) -> RunFacts:
    return RunFacts(
        particles_fingerprint=particles_fingerprint(inputs.table),
        model_fingerprint=model_fingerprint(inputs.atomic_model),
        base_correlation=base,
        contrast_correlations=inputs.contrast_correlations,
        notes=list(inputs.notes),
        image_cache=str(images.absolute()),
        feature_cache=None if features is None else str(features.absolute()),
        residues=inputs.atomic_model.beads.fingerprint,
    )


def _begin(run: RunDirectory, inputs: Inputs, facts: RunFacts) -> None:
    """Write a new run's inputs, and only when all are written put them in the place of an earlier run's files."""
    table = inputs.stacks.located()
    optics = tuple(replace(group, box=inputs.stacks.box) for group in table.optics)
    folder = Path(mkdtemp(prefix=".new-", dir=run.root))
    try:
        new = RunDirectory(folder)
        write_model(new.model_path, inputs.atomic_model)
        write_star(new.particles_path, replace(table, optics=optics))
        new.write_config(inputs.config)
        new.write_facts(facts)
        folder.rename(run.begun)  # from here on a killed process leaves a beginning that is recognised as such
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    run.remove(keep=[Path(path) for path in (facts.image_cache, facts.feature_cache) if path is not None])
    for path in (run.model_path, run.particles_path, run.config_path, run.facts_path):
        (run.begun / path.name).replace(path)  # the facts last: they mark the folder as a run
    run.begun.rmdir()


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
