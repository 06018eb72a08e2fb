"""Turns each of pydantic's validation errors into one line: value, rule, alternatives and place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gramtune.components import Component, Pruner
from gramtune.errors import Issue, Path, did_you_mean, dotted
from gramtune.registry import classes
from gramtune.training.config import SECTIONS

_TAGS = ("[key]", "[number]", "[mapping]")
"""Parts of pydantic's locations that do not occur in files."""


def model_issues(model: type[BaseModel], error: ValidationError, where: Callable[[Path], str]) -> list[Issue]:
    """One issue per validation error of `model`; `where` gives the file and line of a path."""
    issues = []
    for detail in error.errors():
        path, owner = _locate(model, detail["loc"])
        issues.append(Issue(where(path), _message(detail, path, owner)))
    return issues


def _variants(field: str) -> dict[str, type[Any]] | None:
    """The classes that `name` selects from in this field of a trial configuration or a sweep."""
    kinds: Mapping[str, type[Component]] = {**SECTIONS, "pruner": Pruner}
    return dict(classes(kinds[field])) if field in kinds else None


def _locate(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[Path, type[BaseModel] | None]:
    """Splits pydantic's location into the path in the document (without union tags) and the model that owns it."""
    path: list[str | int] = []
    owner: type[BaseModel] | None = model
    variants: dict[str, type[Any]] | None = None
    for index, part in enumerate(loc):
        if variants and part in variants:  # the tag that pydantic inserts
            owner, variants = variants[str(part)], None
        elif part not in _TAGS:
            path.append(part)
            if index < len(loc) - 1 and isinstance(part, str) and owner is not None:
                variants = _variants(part) if owner is model else None
                owner = owner if variants else _section(owner, part)
    return tuple(path), owner


def _section(owner: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of a field that is a section, or of the values of a field that is a mapping of sections."""
    if key not in owner.model_fields:
        return owner  # a key of such a mapping
    annotation = owner.model_fields[key].annotation
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _message(detail: ErrorDetails, path: Path, owner: type[BaseModel] | None) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    key = dotted(path)
    if kind == "extra_forbidden":
        return f"unknown key {key!r}" + did_you_mean(path[-1], _keys(owner))
    if kind == "missing":
        return f"missing key {key!r}"
    if kind == "union_tag_invalid":
        legal = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        return f"{key}.name = {context['tag']!r} does not exist" + did_you_mean(context["tag"], legal)
    if kind == "union_tag_not_found":
        return f"{key} = {value!r} needs a name; legal: {', '.join(_variants(str(path[0])) or ())}"
    if kind == "literal_error":
        return f"{key} = {value!r} is not legal; legal: {context['expected']}"
    if kind == "value_error":
        return f"{key}: {context['error']}"
    return f"{key} = {value!r} should be {_rule(kind, detail['msg'], context)}{_hint(value)}"


def _keys(owner: type[BaseModel] | None) -> list[str]:
    """The keys of a model as written in files: the field `int_` is the key `int`."""
    return [field.alias or name for name, field in owner.model_fields.items()] if owner else []


def _rule(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """The rule in YAML's terms."""
    if kind in ("tuple_type", "list_type"):
        return "a list"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return "a mapping of keys to values"
    if kind == "too_short":
        return f"a list of at least {context['min_length']}"
    if kind == "too_long":
        return f"at most {context['max_length']} entries"
    if kind == "string_pattern_mismatch":
        return "letters, digits, '.', '_' and '-', beginning with a letter or digit"
    rule = message.removeprefix("Input should be ").removeprefix("a valid ")
    return {"integer": "an integer", "number": "a number", "string": "text", "boolean": "true or false"}.get(rule, rule)


def _hint(value: Any) -> str:
    return "; a number in quotes is a string" if isinstance(value, str) and _is_number(value) else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
