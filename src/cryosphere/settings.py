"""Settings read from YAML: unknown keys and wrong values are refused with the nearest thing that would be right."""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cryosphere.errors import ConfigError


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Settings = TypeVar("Settings", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds (YAML 1.2, safe: plain values only).

    Raises:
        ConfigError: if there is no such file, or it is not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the settings file {path}: {error}") from None
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{path} must hold named settings (`name: value`), found {type(value).__name__}")
    return value


def write_yaml(path: Path, settings: BaseModel, *, heading: str) -> None:
    """Write settings as YAML, under a comment, through a temporary name."""
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment,unused-ignore]
    yaml.dump(settings.model_dump(mode="json"), stream)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_text("".join(f"# {line}\n" for line in heading.splitlines()) + stream.getvalue(), encoding="utf-8")
    temporary.replace(path)


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b=value` overrides, in order, to nested settings; values are read as YAML.

    Raises:
        ConfigError: if an override is not of that form.
    """
    result = _copy(values)
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set takes name=value (for example loss.low_pass=8), found {override!r}")
        try:
            value = YAML(typ="safe", pure=True).load(text)
        except YAMLError:
            raise ConfigError(f"--set {name}: cannot read the value {text!r}") from None
        *sections, last = name.strip().split(".")
        place = result
        for section in sections:
            inner = place.setdefault(section, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {name}: {section} is a value, not a group of settings")
            place = inner
        place[last] = value
    return result


def validate(kind: type[Settings], values: Mapping[str, Any], *, origin: str) -> Settings:
    """Check settings against their definition.

    Raises:
        ConfigError: naming every unknown key (with the nearest known one) and wrong value, and where they came from.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [_explain(kind, problem) for problem in error.errors()]
        raise ConfigError(f"settings from {origin}: " + "; ".join(problems)) from None


def _explain(kind: type[BaseModel], problem: Any) -> str:
    place = [str(step) for step in problem["loc"]]
    name = ".".join(place)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], _known_keys(kind, place[:-1]), n=1, cutoff=0.5)
        hint = f"; did you mean {'.'.join([*place[:-1], near[0]])}?" if near else ""
        return f"unknown setting {name}{hint}"
    if problem["type"] == "missing":
        return f"{name} is missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]} (found {problem['input']!r})"


def _known_keys(kind: type[BaseModel], sections: Sequence[str]) -> list[str]:
    """Keys that would be right in a section, which may lie in lists and in unions told apart by their kind."""
    places = [kind]
    for section in sections:
        fields = [place.model_fields[section].annotation for place in places if section in place.model_fields]
        if fields:  # otherwise the place in a list, or the kind of a union
            places = [model for annotation in fields for model in _models_in(annotation)]
    return [key for place in places for key in place.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The groups of settings a type is made of: itself, or those in a union, tuple or Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}
