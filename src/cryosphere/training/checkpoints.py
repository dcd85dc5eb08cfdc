"""Checkpoints: the full state of training in one file, written atomically, checked when read, without pickle."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.optim import Optimizer

from cryosphere.errors import RunError
from cryosphere.files import replacing

log = logging.getLogger(__name__)

_PATTERN = "step_*.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name ("model/…", "optimizer/…") and plain facts (step, epoch, counters)."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    path: Path


def checkpoint_path(folder: Path, step: int) -> Path:
    """Name of the checkpoint after `step` steps."""
    return folder / f"step_{step:010d}.safetensors"


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint through a temporary name, with a digest of everything in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    on_host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(dict(facts))
    content = serialise(on_host, metadata={"facts": text, "digest": _digest(on_host, text)})
    with replacing(path, durable=True) as temporary:
        temporary.write_bytes(content)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint and check its digest.

    Raises:
        RunError: if the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError, UnicodeDecodeError) as error:
        raise RunError(f"the checkpoint {path} is damaged: {error}") from None
    text = metadata.get("facts", "")
    if metadata.get("digest") != _digest(tensors, text):
        raise RunError(f"the checkpoint {path} is damaged: its digest does not match its content")
    return Checkpoint(tensors, json.loads(text), path)


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest sound checkpoint of a folder; None where there is none at all.

    Damaged ones are passed over, with a warning.

    Raises:
        RunError: if every checkpoint is damaged.
    """
    paths = sorted(folder.glob(_PATTERN), reverse=True)
    for path, before in zip_longest(paths, paths[1:]):
        try:
            return load(path)
        except RunError as error:
            log.warning("%s%s", error, f"; falling back to {before.name}" if before else "")
    if paths:
        raise RunError(f"all {len(paths)} checkpoints in {folder} are damaged; start anew with --overwrite")
    return None


def keep_newest(folder: Path, count: int) -> None:
    """Delete all but the newest `count` checkpoints, and what killed writers left behind."""
    for path in sorted(folder.glob(_PATTERN), reverse=True)[count:]:
        path.unlink(missing_ok=True)
    for path in folder.glob(".step_*.part"):
        path.unlink(missing_ok=True)


def gather_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Weights, buffers and the optimiser's moments, by name."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer/{index}/{name}"] = torch.as_tensor(value)
    return tensors


def restore_state(checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer | None = None) -> None:
    """Put a checkpoint's state back.

    Raises:
        RunError: if the checkpoint does not fit the model.
    """
    weights = {name.removeprefix("model/"): t for name, t in checkpoint.tensors.items() if name.startswith("model/")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"the checkpoint {checkpoint.path} does not fit these settings: {error}") from None
    if optimizer is None:
        return
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in checkpoint.tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "optimizer":
            index, _, name = rest.partition("/")
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
