"""The training loop: epochs of steps, held-out images, checkpoints, and a clean way to stop and to go on."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal

from lightning_fabric import Fabric

from cryosphere.errors import FailedElsewhereError, NonFiniteLossError, ProcessLostError
from cryosphere.model.batch import Batch
from cryosphere.model.vae import HeterogeneityModel, Weights
from cryosphere.progress import SILENT, Progress
from cryosphere.training import auto_segments, checkpoints, joining, second_look
from cryosphere.training.averaging import AveragedWeights
from cryosphere.training.config import Config
from cryosphere.training.data import ParticleLoader, Rows, Split, epoch_order
from cryosphere.training.metrics import EpochAverages
from cryosphere.training.reporting import Reports, tell_epoch
from cryosphere.training.run_directory import RunDirectory
from cryosphere.training.schedules import coarse_to_fine
from cryosphere.training.step import Stepper, step_seed
from cryosphere.training.validation import Looking, validate

log = logging.getLogger(__name__)

JOIN_AT = (0.6,)  # of the epochs: segments that move alike are joined then
CHECK_EVERY = 50  # steps between looks at whether everything is finite (each look waits for the device)
Outcome = Literal["finished", "stopped"]


@dataclass
class State:
    """Where training stands."""

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    seconds: float = 0.0
    metrics: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains a model on a loader's particles and keeps the run directory up to date.

    The loader's processes share the images of every step; the gradient, and all that is decided, is that of all.
    """

    def __init__(
        self, model: HeterogeneityModel, loader: ParticleLoader, config: Config, run: RunDirectory, fabric: Fabric
    ) -> None:
        self.config = config
        self.settings = config.training
        self.loader = loader
        self.world = loader.world
        self.run = run
        self.fabric = fabric
        self.split = Split.of(config, len(loader))
        assert self.settings.epochs is not None  # completed when the inputs were read
        assert self.settings.batch_size is not None  # likewise
        self.epochs = self.settings.epochs
        self.batch_size = min(self.settings.batch_size, len(self.split.train))
        self.steps_per_epoch = -(-len(self.split.train) // self.batch_size)
        self._counts_segments = config.segmentation.count == "auto"
        self._join_after = _epochs_at(auto_segments.ROUNDS if self._counts_segments else JOIN_AT, self.epochs)
        self._total_steps = self.steps_per_epoch * self.epochs
        self.raw_model = model
        self.stepper = Stepper(model, config, fabric, self.world)
        self.state = State()
        self.averaged = AveragedWeights(model, self.settings.average) if self.settings.average else None
        self.averages = self._no_averages()
        self._stop_signal: int | None = None
        self._began = time.monotonic()

    @property
    def _at_once(self) -> int:
        """Images that are looked at together."""
        return min(self.batch_size, self.stepper.images_at_once)

    def _no_averages(self) -> EpochAverages:
        return EpochAverages(self.batch_size, self.fabric.device, self.world)

    def resume(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Go on from a checkpoint, exactly."""
        checkpoints.restore_state(checkpoint, self.raw_model, self.stepper.optimizer.optimizer)
        if self.averaged is not None:
            self.averaged.restore(checkpoint.tensors)
        facts = checkpoint.facts
        self.state = State(**facts["state"])
        self.averages.restore(facts["averages"])
        self.stepper.set_learning_rates(max(self.state.step - 1, 0) / self._total_steps)  # as the last step had them

    def fit(self, progress: Progress = SILENT) -> Outcome:
        """Train to the last epoch, or until Ctrl-C or SIGTERM, which save and stop.

        Raises:
            NonFiniteLossError: if a term of the loss or the gradient is not finite; the last checkpoint is sound.
            ProcessLostError: if another process of the job died.
        """
        if self.state.epoch < self.epochs:
            self.loader.settle(progress)
        reports = Reports(self.run, self.state.metrics, self.world)
        self._began = time.monotonic() - self.state.seconds  # as if it had never been interrupted
        with _stopping_on_signals(self), reports:
            while self.state.epoch < self.epochs:
                if not self._epoch(progress):
                    self._save()
                    return "stopped"
                if self.averaged is not None and self.state.epoch == self.epochs - 1:
                    self.averaged.put_into(self.raw_model)
                row = self._finish_epoch()
                if self.config.segmentation.join and self.state.epoch in self._join_after:
                    self._join_segments()
                reports.add(row, self.state.step)
                self.state.metrics = reports.rows
                self._save()
                tell_epoch(row, self.epochs)
            self._tell_moving_parts()
            if self._wants_second_look() and not self._look_again(progress):
                return "stopped"
        return "finished"

    def _wants_second_look(self) -> bool:
        amortised = self.config.encoder.kind != "free"
        wanted = self.settings.second_look and amortised
        return wanted and not self.world.agree(on=self.world.is_first and self.run.second_look.exists())

    def _look_again(self, progress: Progress) -> bool:
        self.raw_model.eval()
        found = second_look.look_again(
            self.raw_model, self.loader, self._at_once, stop=lambda: self._stop_signal is not None, progress=progress
        )
        if found is None:
            return False
        if self.world.is_first:
            found.save(self.run.second_look, self.state.step)
        return True

    def _epoch(self, progress: Progress) -> bool:
        """The rest of the current epoch; False if a signal asked to stop."""
        state = self.state
        order = epoch_order(self.split.train, self.settings.seed, state.epoch)
        rest = order[state.step_in_epoch * self.batch_size :]
        self.stepper.model.train()
        last_saved = time.monotonic()
        label = f"epoch {state.epoch + 1}/{self.epochs}"
        with progress.track(len(rest), label) as advance:
            for batch in self.loader.shares(rest, self.batch_size):
                self._step(batch)
                advance(batch.share.total)
                state.seconds = time.monotonic() - self._began
                if state.step % CHECK_EVERY == 0:
                    self._require_finite()
                if not self.world.is_time_to_ask(state.step):
                    continue
                by_clock = time.monotonic() - last_saved > 60 * self.settings.checkpoint_minutes
                if self.world.agree(on=self.world.is_first and by_clock):
                    self._save()
                    last_saved = time.monotonic()
                if self.world.agree(on=self._stop_signal is not None):
                    return False
        return True

    def _step(self, batch: Batch) -> None:
        state = self.state
        done = state.step / self._total_steps
        self.stepper.set_learning_rates(done)
        losses, norm = self.stepper.take(batch, self._weights(done), state.step)
        if self.averaged is not None:
            self.averaged.update(self.raw_model)
        self.averages.add(losses, norm, state.step, batch.share)
        state.step += 1
        state.step_in_epoch += 1

    def _weights(self, done: float) -> Weights:
        loss = self.config.loss
        names = ("kl_latent", "kl_segments", "continuity", "clash", "elastic")
        finest = 2 * self.raw_model.projector.grid.pixel_size
        resolution = coarse_to_fine(done, until=loss.coarse_until, start=loss.coarse_resolution, end=finest)
        return Weights(**{name: getattr(loss, name).at(done) for name in names}, resolution=resolution)

    def _finish_epoch(self) -> dict[str, Any]:
        self._require_finite()
        state, averages = self.state, self.averages.averages()
        seed = step_seed(self.settings.seed, 0)
        looking = Looking(self.batch_size, self.stepper.images_at_once, seed)
        explained = validate(self.raw_model, self.loader, self.split, looking)
        state.seconds = time.monotonic() - self._began
        images = self.averages.images
        before = sum(row["epoch_seconds"] for row in state.metrics)
        seconds = max(state.seconds - before, 1e-9)
        row = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "images_seen": (state.metrics[-1]["images_seen"] if state.metrics else 0) + images,
            "seconds": state.seconds,
            "epoch_seconds": seconds,
            "images_per_second": images / seconds,
            "train_correlation": averages["correlation"],
            **explained,
            "train_loss": averages["total"],
            **{name: averages[name] for name in EpochAverages.TERMS if name not in ("correlation", "total")},
            "kl_weight": float(self.raw_model.kl_weight()),
            "segments": int(self.raw_model.segmentation.alive.sum()),
            "learning_rate": self.stepper.optimizer.param_groups[0]["lr"],
        }
        state.epoch += 1
        state.step_in_epoch = 0
        self.averages = self._no_averages()
        return row

    def _join_segments(self) -> None:
        judges = (self.raw_model, self.loader, self._judged_by, self._at_once)
        joins: list[joining.Join] = []
        with self.world.together():
            if self.world.is_first and self._counts_segments:
                joins = auto_segments.prune(*judges, len(self.split.train))
            elif self.world.is_first:
                joins = joining.join_alike(*judges)
        if not self.world.agree(on=bool(joins)):
            return
        self.world.copy_from_first(self.raw_model.state_dict().values())
        if self.averaged is not None:
            self.averaged.begin(self.raw_model)
        if joins:
            log.info("%s", joining.describe(joins, int(self.raw_model.segmentation.alive.sum())))

    @property
    def _judged_by(self) -> Rows:
        """Images by which it is decided what moves as one: those that trained nothing, if there are any."""
        return self.split.validation if len(self.split.validation) else self.split.train

    def _tell_moving_parts(self) -> None:
        """Write which segments move as one part, if their number was left to the images and it is not known yet."""
        with self.world.together():
            if not self._counts_segments or not self.world.is_first or self.run.moving_parts.exists():
                return
            found = auto_segments.find_moving_parts(self.raw_model, self.loader, self._judged_by, self._at_once)
            if found is None:
                log.warning(
                    "how many parts move was not found out: that takes %d held-out images, and there are %d (more with "
                    "training.validation_fraction, or give --segments a number)",
                    *(joining.FEWEST, len(self._judged_by)),
                )
            else:
                found.save(self.run.moving_parts)
                log.info("%s", found.words())

    def _require_finite(self) -> None:
        failure = self.averages.first_failure()
        if failure is None:
            return
        epoch, within = divmod(failure.step, self.steps_per_epoch)
        order = epoch_order(self.split.train, self.settings.seed, epoch)
        rows = order[within * self.batch_size : (within + 1) * self.batch_size] + 1
        blamed = rows[list(failure.images)] if failure.images else rows
        kept = sorted(self.run.checkpoints.glob("step_*.safetensors"))
        error = NonFiniteLossError(
            f"the loss or its gradient stopped being finite at step {failure.step} (epoch {epoch + 1}), in: "
            f"{', '.join(failure.terms)}. "
            + ("Particle rows at fault" if failure.images else "Particle rows of that step")
            + f" (from 1): {', '.join(map(str, blamed.tolist()))}. "
            + (f"The last sound checkpoint is {kept[-1]}. " if kept else "")
            + "A lower training.learning_rate or training.gradient_clip usually helps."
        )
        raise self.world.told_once(error)

    def _save(self) -> None:
        """Write a checkpoint: all processes come here, the first one writes. It fits any number of processes."""
        self._require_finite()
        facts = {"state": vars(self.state), "averages": self.averages.state()}
        tensors = checkpoints.gather_state(self.raw_model, self.stepper.optimizer.optimizer)
        if self.averaged is not None:
            tensors |= self.averaged.state()
        with self.world.together():
            if self.world.is_first:
                path = checkpoints.checkpoint_path(self.run.checkpoints, self.state.step)
                checkpoints.save(path, tensors, facts)
                checkpoints.keep_newest(self.run.checkpoints, self.settings.keep_checkpoints)

    def ask_to_stop(self, number: int, _frame: FrameType | None = None) -> None:
        """Signal handler: stop after the current step. A second signal stops at once.

        Not so in a job of several processes, where `torchrun` sends on what it gets itself, so that signals come twice.
        """
        if self._stop_signal is not None:
            if self.world.size > 1:
                return
            raise KeyboardInterrupt
        self._stop_signal = number
        log.warning("%s: saving a checkpoint and stopping", signal.Signals(number).name)


def _epochs_at(fractions: Iterable[float], epochs: int) -> frozenset[int]:
    """Epochs after which these fractions of all of them are done: not before the first, nor after the last one."""
    return frozenset(min(max(1, round(fraction * epochs)), epochs - 1) for fraction in fractions)


@contextmanager
def _stopping_on_signals(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end training cleanly; outside the main thread signals cannot be caught."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(number, trainer.ask_to_stop) for number in numbers]
    except ValueError:
        yield
        return
    try:
        yield
    except (ProcessLostError, FailedElsewhereError):
        before = [signal.SIG_IGN] * len(numbers)  # `torchrun` sends one now: it must not cut short what is told of this
        raise
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
