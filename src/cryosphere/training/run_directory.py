"""What a run leaves on disk, and where: readable without the trainer, versioned."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryosphere import __version__
from cryosphere.errors import RunError
from cryosphere.files import write_text
from cryosphere.settings import read_yaml, validate, write_yaml
from cryosphere.training.config import Config

FORMAT = 2  # 2: segments that were joined to others


@dataclass(frozen=True)
class RunFacts:
    """What was found out before training, needed to read the run or to judge it (run.json)."""

    particles_fingerprint: str  # of poses, CTFs, image names, in order
    model_fingerprint: str  # of the base structure's atoms
    base_correlation: float  # mean correlation of the images with the unmoved base structure
    contrast_correlations: dict[str, float]  # "white" and "black": what contrast: auto saw (empty if told)
    notes: list[str]  # what was chosen for the user, and why
    image_cache: str  # file of the preprocessed images; made again from the stacks if it is gone
    feature_cache: str | None  # file of the lifted features, likewise
    residues: str = ""  # fingerprint of their chains, numbers and names; empty in runs made before there was one
    format: int = FORMAT
    version: str = __version__


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run's files."""

    root: Path

    @property
    def config_path(self) -> Path:
        """Settings as resolved."""
        return self.root / "config.yaml"

    @property
    def facts_path(self) -> Path:
        """Fingerprints and what was found out before training."""
        return self.root / "run.json"

    @property
    def model_path(self) -> Path:
        """The base structure as used."""
        return self.root / "model.cif"

    @property
    def particles_path(self) -> Path:
        """The particles as used, in order."""
        return self.root / "particles.star"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.root / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        """One row per epoch."""
        return self.root / "metrics.csv"

    @property
    def second_look(self) -> Path:
        """Latents that replace the encoder's, of images it misjudged; missing where training has not ended."""
        return self.root / "second_look.npz"

    @property
    def moving_parts(self) -> Path:
        """Which segments move as one part, where their number was left to the images."""
        return self.root / "moving_parts.json"

    @property
    def model_error(self) -> Path:
        """How far the structures are off beyond what latents leave open; made when it is first asked for."""
        return self.root / "model_error.npz"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def analysis(self) -> Path:
        """Folder of the analysis."""
        return self.root / "analysis"

    @property
    def evaluation(self) -> Path:
        """What the comparison with the truth of a simulation found."""
        return self.root / "evaluation.json"

    @property
    def cache_folders(self) -> tuple[Path, Path]:
        """Folders for preprocessed images: beside the run, so that other runs on the same data find them, or inside."""
        return self.root.absolute().parent / "cryosphere-cache", self.root.absolute() / "cache"

    @property
    def begun(self) -> Path:
        """Folder of a new run's first files, all of them, while they take their places."""
        return self.root / ".begun"

    def is_occupied(self) -> bool:
        """Whether a run lies here: run.json is the last of its first files, and the first to go."""
        return self.facts_path.exists()

    def own_files(self) -> list[Path]:
        """Everything here that a run would write or replace; run.json, which tells that it is a run, comes first."""
        inputs = (self.facts_path, self.config_path, self.model_path, self.particles_path)
        files = (*inputs, self.metrics_path, self.second_look, self.moving_parts, self.model_error, self.evaluation)
        folders = (self.checkpoints, self.tensorboard, self.analysis, self.evaluation.with_suffix(""))
        return [path for path in (*files, *folders) if path.exists()]

    def remove(self, keep: Collection[Path] = ()) -> None:
        """Delete a run, and cached images in its folder unless they are to be kept; nothing else in the folder."""
        inside = self.cache_folders[1]
        cached = [path for kind in ("spectra", "lifted") for path in inside.glob(f"{kind}-*.npy") if path not in keep]
        for path in (*self.own_files(), *cached):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def tidy(self) -> None:
        """Clear away what a killed training left half done. Only for who has the run's lock."""
        results = (self.metrics_path, self.second_look, self.moving_parts)
        for pattern in (".new-*", *(f".{path.name}.*.part" for path in results)):
            for path in self.root.glob(pattern):
                _delete(path)
        for path in self.checkpoints.glob(".step_*.part"):
            _delete(path)
        if self.begun.exists():
            if not self.is_occupied():  # killed while its files took their places: it begins once more
                self.remove(keep=list(self.cache_folders[1].glob("*")))
            _delete(self.begun)

    def tidy_results(self) -> None:
        """Clear away what a killed evaluation left half done. Only for who has the lock of the run's results."""
        name = self.evaluation.name
        for path in (*self.root.glob(f".{name}.*.part"), *self.evaluation.with_suffix("").glob(".*.part")):
            _delete(path)

    def require_place(self) -> None:
        """Make sure that a new run can be written here.

        Raises:
            RunError: if this is a file, or not writable, or holds files that are no run's but would be replaced.
        """
        folder = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
        if not folder.is_dir():
            raise RunError(f"{folder} is a file, not a folder: choose another --outdir than {self.root}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise RunError(f"no permission to write to {folder}: choose another --outdir than {self.root}")
        foreign = [path.name for path in self.own_files()]
        if foreign and not self.is_occupied() and not self.begun.exists():
            raise RunError(
                f"{self.root} is not a run of cryosphere, but holds {', '.join(foreign)}, which a run would replace: "
                "choose another --outdir"
            )

    def require(self) -> None:
        """Raise RunError unless a run lies here."""
        if not self.root.is_dir():
            what = "is a file, not a folder" if self.root.exists() else "does not exist"
            raise RunError(f"{self.root} {what}; a run is the folder that `cryosphere train --outdir` made")
        missing = [p.name for p in (self.config_path, self.facts_path, self.model_path) if not p.is_file()]
        if missing:
            raise RunError(
                f"{self.root} is not a run of cryosphere, or a damaged one: {', '.join(missing)} missing"
                + (" (training anew with --overwrite replaces it)" if self.is_occupied() else "")
            )

    def read_config(self) -> Config:
        """The run's settings."""
        values = read_yaml(self.config_path)
        return validate(Config, values, origin=str(self.config_path))

    def write_config(self, config: Config) -> None:
        """Write the run's settings, with the software's version as a comment."""
        write_yaml(self.config_path, config, heading=f"cryosphere {__version__}: settings of this run, as resolved")

    def read_facts(self) -> RunFacts:
        """What was found out before training.

        Raises:
            RunError: if run.json is damaged or was written by a later version of the format.
        """
        try:
            values = json.loads(self.facts_path.read_text(encoding="utf-8"))
            found = values.get("format")
            if isinstance(found, int) and found > FORMAT:
                raise RunError(
                    f"{self.facts_path} has format {found}, this cryosphere {__version__} reads up to {FORMAT}: "
                    f"use the version that made it ({values.get('version')}) or a later one"
                )
            if isinstance(found, int) and found < FORMAT:
                raise RunError(
                    f"{self.facts_path} has format {found}: cryosphere {values.get('version')} made the run before "
                    f"segments were joined, and this {__version__} cannot read its weights. Train anew (--overwrite)"
                )
            return RunFacts(**values)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(f"{self.facts_path} is damaged: {error}") from None

    def write_facts(self, facts: RunFacts) -> None:
        """Write run.json."""
        write_text(self.facts_path, json.dumps(asdict(facts), indent=2) + "\n")


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def no_empty_folders(*folders: Path) -> Iterator[None]:
    """Folders (and their parents) that did not exist before the block and are empty after it go again."""
    made = {path for folder in folders for path in (folder, *folder.parents) if not path.exists()}
    try:
        yield
    finally:
        for path in sorted(made, key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):  # it is not empty, or was never made
                path.rmdir()


def differing_keys(old: Config, new: Config) -> list[str]:
    """Dotted names of the settings in which two configurations differ, as `name: old → new`."""

    def flatten(values: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(values, dict):
            return {prefix.rstrip("."): values}
        return {k: v for key, value in values.items() for k, v in flatten(value, f"{prefix}{key}.").items()}

    before, after = (flatten(config.model_dump(mode="json"), "") for config in (old, new))
    keys = [key for key in (before | after) if before.get(key) != after.get(key)]
    return [f"{key}: {before.get(key)!r} → {after.get(key)!r}" for key in keys]
