"""Settings read from YAML: unknown keys and wrong values are refused with the nearest thing that would be right."""

from __future__ import annotations

import difflib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cryosphere.errors import ConfigError
from cryosphere.files import write_text


class Section(BaseModel):
    """A group of settings; unknown keys are refused, and so are numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


_LONGEST_VALUE = 80  # characters of a wrong value that a message repeats

Settings = TypeVar("Settings", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds (YAML 1.2, safe: plain values only).

    Raises:
        ConfigError: if there is no such file, or it is not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read the settings file {path}: it is not a text file") from None
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        explained = " ".join(str(error).partition("To suppress this check")[0].split())
        raise ConfigError(f"{path} is not valid YAML: {explained}") from None
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
    write_text(path, "".join(f"# {line}\n" for line in heading.splitlines()) + stream.getvalue())


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b=value` overrides, in order, to nested settings; values are read as YAML.

    Raises:
        ConfigError: if an override is not of that form.
    """
    result = _copy(values)
    for override in overrides:
        name, equals, text = override.partition("=")
        *sections, last = name.strip().split(".")
        if not equals or not all([*sections, last]):
            raise ConfigError(f"--set takes name=value (for example loss.low_pass=8), found {override!r}")
        try:
            value = YAML(typ="safe", pure=True).load(text)
        except (YAMLError, ValueError, RecursionError):
            raise ConfigError(f"--set {name}: cannot read the value {text!r}") from None
        group_of(result, sections, origin=f"--set {name}")[last] = value
    return result


def group_of(values: dict[str, Any], sections: Sequence[str], *, origin: str) -> dict[str, Any]:
    """The group of settings at `sections` inside `values`, made where there is none yet.

    Raises:
        ConfigError: if a plain value stands where a group should be.
    """
    place = values
    for section in sections:
        inner = place.get(section)
        if inner is None:
            inner = place[section] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{origin}: {section} is {_shown(inner)}, not a group of settings")
        place = inner
    return place


def validate(kind: type[Settings], values: Mapping[str, Any], *, origin: str) -> Settings:
    """Check settings against their definition.

    Raises:
        ConfigError: naming every unknown key (with the nearest known one) and wrong value, and where they came from.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = error.errors()
        inner = {problem["loc"][: len(problem["loc"]) - k] for problem in found for k in range(1, len(problem["loc"]))}
        problems = [_explain(kind, problem) for problem in found if problem["loc"] not in inner]
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
    found = f"(found {_shown(problem['input'])})"
    if problem["type"] == "model_type":
        keys = _known_keys(kind, place)
        return f"{name} is a group of settings ({', '.join(keys[:4])}{', …' if len(keys) > 4 else ''}) {found}"
    if problem["type"] == "union_tag_not_found":
        return f"{name}: its kind is missing {found}"
    if problem["type"] == "union_tag_invalid":
        return f"{name}.kind must be one of {problem['ctx']['expected_tags']} (found {problem['ctx']['tag']!r})"
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ").replace("tuple", "list")
    return f"{name}: {message[:1].lower()}{message[1:]} {found}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


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
