"""The settings file, with a reason at every line that was chosen."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryosphere.preparation.choices import Choice, Choices
from cryosphere.training.prepare import default_epochs

_WIDTH = 100


@dataclass(frozen=True)
class Source:
    """Where the run's particles come from."""

    files: tuple[Path, ...]
    datadir: Path | None
    images: int
    seed: int


def config_text(source: Source, model: str, placed: str, choices: Choices, heading: Sequence[str]) -> str:
    """The content of config.yaml.

    model: path relative to the file; placed: how the model was placed, in words; heading: lines for its beginning.
    """
    epochs = default_epochs(source.images)
    lines = [comment for line in heading for comment in _comment(line, "")]
    lines += ["", "particles:", f"  files:  # {source.images:,} images"]
    lines += [f"    - {_text(file.absolute())}" for file in source.files]
    if source.datadir is not None:
        lines += ["  # where image stacks are looked for first", f"  datadir: {_text(source.datadir.absolute())}"]
    lines += ["", *_comment(placed, ""), f"model: {_text(model)}"]
    lines += ["", "images:", *_setting(choices.box), *_setting(choices.contrast)]
    lines += ["", "segmentation:", *_setting(choices.segments)]
    lines += ["", "loss:", *_setting(choices.low_pass)]
    if choices.mask is None:
        lines += _free("mask_radius: 0.9", "of half the box: compare images within it only, where neighbours are near")
    else:
        lines += _setting(choices.mask)
    lines += _free("continuity: 0.0", "per Å²; above 0 it keeps neighbours along the chain at their distances")
    lines += _free("clash: 0.0", "per Å²; above 0 it pushes residues apart that come too near")
    lines += ["", "training:"]
    lines += _comment(f"Epochs are left to the default, which for {source.images:,} images is {epochs}.")
    lines += _free(f"epochs: {epochs}", "passes over the images")
    lines += _free("batch_size: 128", "images per step; by default measured")
    lines += _free("learning_rate: 0.003", "of encoder and decoder; smaller if the loss jumps")
    lines += [*_comment("Of everything random; another one shows what depends on chance."), f"  seed: {source.seed}"]
    lines += ["", "# encoder:", *_free("latent_dim: 8", "numbers per image; those not needed stay unused", "#   ")]
    return "\n".join(lines) + "\n"


def _setting(choice: Choice) -> list[str]:
    value = "null" if choice.value is None else str(choice.value)
    unit = f"  # {choice.unit}" if choice.unit else ""
    return [*_comment(choice.reason), f"  {choice.name.rpartition('.')[2]}: {value}{unit}"]


def _free(line: str, meaning: str, before: str = "  # ") -> list[str]:
    return [f"{before}{line}  # {meaning}"]


def _comment(text: str, indent: str = "  ") -> list[str]:
    lead = f"{indent}# "
    if text.startswith(" "):  # a command
        return [lead + text]
    return textwrap.wrap(text, _WIDTH, initial_indent=lead, subsequent_indent=lead, break_long_words=False) or [
        lead.rstrip()
    ]


def _text(value: object) -> str:
    """A string of YAML, quoted: JSON's are."""
    return json.dumps(str(value), ensure_ascii=False)
