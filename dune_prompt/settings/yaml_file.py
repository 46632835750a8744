"""Reads a YAML file into a pydantic model; an error names file, line, key and what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dune_prompt.errors import ConfigError


class Strict(BaseModel):
    """The base of every settings model: an unknown key is an error, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]


def load_yaml(path: Path, model: type[Model], **context: Any) -> Model:
    """The content of `path` as `model`; `context` reaches its validators.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or holds what the model does not allow; all errors are listed.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = {} if node is None else yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not YAML ({getattr(error, 'problem', None) or error})") from None
    lines = {} if node is None else dict(_lines(node, ()))
    if duplicate := _first_duplicate(node):
        raise ConfigError(f"{path}:{duplicate[1]}: {duplicate[0]}: given twice")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}:1: expected keys and values, found {type(content).__name__}")
    try:
        return model.model_validate(content, context={"path": path, **context})
    except ValidationError as error:
        raise ConfigError("\n".join(_messages(path, lines, model, error))) from None


def _messages(path: Path, lines: dict[Location, int], model: type[BaseModel], error: ValidationError) -> Iterator[str]:
    errors = error.errors(include_url=False)
    for item in errors:
        location = item["loc"]
        allowed = _keys_at(model, location[:-1])
        location = _as_written(location, lines)
        if item["type"] == "value_error" and len(location) > 1 and isinstance(location[-2], int) and location not in lines:
            location = location[:-1]  # the branch itself is what is wrong
        known = next((location[:n] for n in range(len(location), -1, -1) if location[:n] in lines), ())
        key = ".".join(str(part) for part in location) or "(file)"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key" + (f"; allowed: {', '.join(allowed)}" if allowed else "")
        elif item["type"] == "missing":
            message = "missing"
        elif item["type"] == "union_tag_not_found":
            message = f"{item['ctx']['discriminator'].strip(chr(39))} is missing"
        elif item["type"] == "too_short" and any(deeper["loc"][: len(location)] == location != deeper["loc"] for deeper in errors):
            continue  # what was in the list is complained about already
        elif not isinstance(item["input"], dict | list) and repr(str(item["input"])) not in message:
            message += f" (found {str(item['input'])[:60]!r})"
        yield f"{path}:{lines.get(known, 1)}: {key}: {message}"


def _as_written(location: Location, lines: dict[Location, int]) -> Location:
    """`location` without the names of a union's branches, which pydantic adds after the number of a list's item."""
    for n in range(1, len(location) - 1):
        if isinstance(location[n - 1], int) and isinstance(location[n], str) and location[: n + 1] not in lines and location[:n] in lines:
            return _as_written(location[:n] + location[n + 1 :], lines)
    return location


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """The keys allowed at `location` of `model`, as far as its nested models tell; a union's branch is named in the location."""
    current: list[type[BaseModel]] = [model]
    for part in location:
        if isinstance(part, int):
            continue
        branch = [item for item in current if part in _tags(item)]
        current = branch or [
            inner for item in current if part in item.model_fields for inner in _models_in(item.model_fields[part].annotation)
        ]
    return sorted({name for item in current for name in item.model_fields})


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The values of `kind` that choose `model` in a union."""
    field = model.model_fields.get("kind")
    return () if field is None else get_args(field.annotation)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _lines(node: yaml.Node, location: Location) -> Iterator[tuple[Location, int]]:
    yield location, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*location, key.value)
            yield from _lines(value, here)
            yield here, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*location, index))


def _first_duplicate(node: yaml.Node | None) -> tuple[str, int] | None:
    """The first key written twice in one mapping: YAML would silently keep the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                return key.value, key.start_mark.line + 1
            seen.add(key.value)
            if found := _first_duplicate(value):
                return found
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            if found := _first_duplicate(value):
                return found
    return None
