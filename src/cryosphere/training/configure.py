"""Settings of a run from everywhere they can come from: a YAML file, named options, `a.b=value` overrides, a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cryosphere.errors import ConfigError, RunError
from cryosphere.settings import group_of, has_unknown_keys, read_yaml, validate, with_overrides
from cryosphere.training.config import Config
from cryosphere.training.run_directory import RunDirectory

OPTIONS = {
    "particles": "particles.files",
    "datadir": "particles.datadir",
    "model": "model",
    "segments": "segmentation.count",
    "epochs": "training.epochs",
    "box": "images.box",
    "batch_size": "training.batch_size",
    "seed": "training.seed",
    "device": "training.device",
}
"""Short names of the settings that users change most."""


def configure(
    path: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    start: dict[str, Any] | None = None,
    **options: Any,
) -> Config:
    """Settings for a run: those of a YAML file, then named options, then overrides; the later ones win.

    Args:
        path: YAML file; paths in it are relative to its folder.
        overrides: Like ["loss.low_pass=8", "encoder.kind=mlp"].
        start: Values to start from, instead of none.
        options: Short names: particles, datadir, model, segments, epochs, box, batch_size, seed, device.

    Raises:
        ConfigError: for an unknown setting (with the nearest known one), a wrong value, or one that is missing.

    >>> configure(particles="particles.star", model="model.cif", segments=6).segmentation.count
    6
    """
    values = dict(start or {})
    if path is not None:
        values = _merged(values, _anchored(read_yaml(Path(path)), Path(path).absolute().parent))
    unknown = set(options) - set(OPTIONS)
    if unknown:
        raise ConfigError(f"unknown option {', '.join(sorted(unknown))}; known: {', '.join(OPTIONS)}")
    for name, value in options.items():
        *sections, last = OPTIONS[name].split(".")
        group_of(values, sections, origin="the settings given" if path is None else str(path))[last] = value
    values = with_overrides(values, overrides)
    if not has_unknown_keys(Config, values):  # one of them may be the misspelt name of what seems to be missing
        _require_inputs(values)
    return validate(Config, values, origin=_origin(path, overrides, options))


def configure_resumed(outdir: str | Path) -> Callable[..., Config]:
    """Like `configure`, starting from the settings of the run in `outdir`.

    Raises:
        RunError: if there is none.
    """
    run = RunDirectory(Path(outdir))
    if not run.is_occupied():
        raise RunError(f"there is no run in {run.root} to go on with; without --resume a new one is begun")
    run.require()
    return partial(configure, start=run.read_config().model_dump(mode="json"))


def _origin(path: str | Path | None, overrides: Sequence[str], options: dict[str, Any]) -> str:
    given = "the options given"
    if path is None:
        return given
    return f"{path} and {given}" if overrides or options else str(path)


def _require_inputs(values: dict[str, Any]) -> None:
    particles = values.get("particles") or {}
    if isinstance(particles, dict) and not particles.get("files"):
        raise ConfigError("no particles given: --particles P.star (or particles.files in the settings file)")
    if not values.get("model"):
        raise ConfigError("no atomic model given: --model M.cif (or model in the settings file)")


def _anchored(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values of a settings file with its paths made independent of where the command runs."""
    result = dict(values)
    if isinstance(result.get("model"), str):
        result["model"] = str(folder / result["model"])
    particles = result.get("particles")
    if isinstance(particles, dict):
        particles = dict(particles)
        files = particles.get("files")
        if isinstance(files, str):
            files = [files]
        if isinstance(files, list):
            particles["files"] = [str(folder / file) if isinstance(file, str) else file for file in files]
        if isinstance(particles.get("datadir"), str):
            particles["datadir"] = str(folder / particles["datadir"])
        result["particles"] = particles
    return result


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result
