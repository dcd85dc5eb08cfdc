"""Settings read from YAML: unknown keys and wrong values are refused with the nearest thing that would be right."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
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
_LONGEST_GROUP = 60  # likewise, of a mapping or list; of a longer one nothing is repeated

_UNKNOWN = "extra_forbidden"  # pydantic's name for it

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
        meant = {name for problem in found if problem["type"] == _UNKNOWN for name in _meant(kind, problem["loc"])}
        problems = [
            _explain(kind, problem)
            for problem in found
            if problem["loc"] not in inner
            and not (problem["type"] == "missing" and ".".join(map(str, problem["loc"])) in meant)
        ]
        raise ConfigError(f"settings from {origin}: " + "; ".join(problems)) from None


def has_unknown_keys(kind: type[BaseModel], values: Mapping[str, Any]) -> bool:
    """Whether a setting is named that there is not, whatever else is wrong or missing."""
    try:
        kind.model_validate(values)
    except ValidationError as error:
        return any(problem["type"] == _UNKNOWN for problem in error.errors())
    return False


def _explain(kind: type[BaseModel], problem: Any) -> str:
    place = [str(step) for step in problem["loc"]]
    name = ".".join(place)
    if problem["type"] == _UNKNOWN:
        near = _meant(kind, problem["loc"])
        return f"unknown setting {name}" + (f"; did you mean {' or '.join(near)}?" if near else "")
    if problem["type"] == "missing":
        return f"{name} is missing"
    value = problem["input"]
    shown = not (isinstance(value, Mapping | list | tuple) and len(repr(value)) > _LONGEST_GROUP)
    found = f" (found {_shown(value)})" if shown else ""
    if problem["type"] == "model_type":
        keys = _known_keys(kind, place)
        return f"{name} is a group of settings ({', '.join(keys[:4])}{', …' if len(keys) > 4 else ''}){found}"
    if problem["type"] == "union_tag_not_found":
        return f"{name}: its kind is missing{found}"
    if problem["type"] == "union_tag_invalid":
        tags, tag = problem["ctx"]["expected_tags"], problem["ctx"]["tag"]
        return f"{name}.kind must be one of {tags} (found {tag!r}){_nearest_word(tag, tags)}"
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ").replace("tuple", "list")
    hint = _nearest_word(value, problem["ctx"]["expected"]) if problem["type"] == "literal_error" else ""
    return f"{name}: {message[:1].lower()}{message[1:]}{found}{hint}"


def _meant(kind: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """Full names of the settings that were probably meant by an unknown one, the most that there can be of one name."""
    *place, last = map(str, loc)
    elsewhere = [path for path in _all_keys(kind) if path[-1] == last.lower()]
    if elsewhere:
        beside = [path for path in elsewhere if list(path[:-1]) == place]
        return [".".join(path) for path in beside or elsewhere]
    near = difflib.get_close_matches(last, _known_keys(kind, place), n=1, cutoff=0.5)
    return [".".join([*place, near[0]])] if near else []


def _nearest_word(value: object, expected: str) -> str:
    """A hint where one of the words in quotes was meant, as when only upper and lower case differ."""
    words = re.findall(r"'([^']*)'", expected)
    near = difflib.get_close_matches(value.lower(), words, n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]}?" if near else ""


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


def _all_keys(kind: type[BaseModel], sections: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every setting outside lists and unions, as the sections it lies in and its name."""
    for key, field in kind.model_fields.items():
        yield (*sections, key)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _all_keys(field.annotation, (*sections, key))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The groups of settings a type is made of: itself, or those in a union, tuple or Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}
