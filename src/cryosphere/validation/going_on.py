"""Models that a validation trains for itself, and goes on with where it was ended."""

from __future__ import annotations

from pathlib import Path

from cryosphere.progress import SILENT, Progress
from cryosphere.training.config import Config
from cryosphere.training.run_directory import RunDirectory
from cryosphere.training.train import train
from cryosphere.training.trained import TrainedModel


def train_or_go_on(config: Config, folder: Path, progress: Progress = SILENT) -> TrainedModel:
    """A model trained in a folder: from scratch, or on from where it stopped; as it is where it is finished.

    Raises:
        InputError: if the run that lies there was begun with other settings, or something is wrong with the images.
        KeyboardInterrupt: if training was told to stop; it can be gone on with.
    """
    existing = RunDirectory(folder).is_occupied()
    if train(config, folder, existing="resume" if existing else "refuse", progress=progress) == "stopped":
        raise KeyboardInterrupt("stopped; what was learned so far is saved. The same command goes on with it")
    assert config.training.device in ("cpu", "cuda")  # that of the run which is validated
    return TrainedModel.load(folder, device=config.training.device, progress=progress)
