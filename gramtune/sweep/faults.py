"""Faults in what the user wrote: collected, raised once, one line each with value, rule, alternatives and place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gramtune.components import Component, Dataset, Metric, Network, Objective
from gramtune.registry import classes
from gramtune.training.optimizer import Adam, RMSprop

Path = tuple[str | int, ...]
"""A place in a YAML document: keys and list indices from the top."""


class Fault(NamedTuple):
    """One thing that is wrong: `where` is file:line or the command-line option."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class SpecError(ValueError):
    """Everything that is wrong with a sweep, found before anything starts."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        tidy = (Fault(escaped(fault.where), clipped(escaped(fault.message))) for fault in faults)
        self.faults = sorted(dict.fromkeys(tidy), key=_place)
        super().__init__("\n".join(map(str, self.faults)))


def _place(fault: Fault) -> tuple[str, int]:
    """File by file, line by line."""
    file, _, line = fault.where.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (fault.where, 0)


def escaped(text: str) -> str:
    """`text` in one printable line: what a terminal would obey, or not show, is written as in Python."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clipped(text: str, length: int = 600) -> str:
    """`text` without its middle where it is too long to read: what is wrong and what is right are at its ends."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} … {text[-half:]}"


def did_you_mean(word: object, legal: Iterable[str]) -> str:
    """`; did you mean 'x'? legal: x, y, z`, without the question where nothing is near."""
    legal = list(legal)
    near = difflib.get_close_matches(str(word), legal, n=1)
    alternatives = f" legal: {', '.join(legal)}" if legal else ""
    return (f"; did you mean {near[0]!r}?" if near else ";" if legal else "") + alternatives


def dotted(path: Path) -> str:
    """('objective', 'bandwidths', 0) → objective.bandwidths[0]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def model_faults(model: type[BaseModel], error: ValidationError, where: Callable[[Path], str]) -> list[Fault]:
    """One fault per error of validating `model`; `where` tells the place of a path."""
    faults = []
    for detail in error.errors():
        path, owner = _locate(model, detail["loc"])
        faults.append(Fault(where(path), _message(detail, path, owner)))
    return faults


def _variants(field: str) -> dict[str, type[Any]] | None:
    """The classes among which `name` decides for this field of a trial configuration."""
    kinds: dict[str, type[Component]] = {"data": Dataset, "objective": Objective, "network": Network, "metrics": Metric}
    if field in kinds:
        return dict(classes(kinds[field]))
    return {"adam": Adam, "rmsprop": RMSprop} if field == "optimizer" else None


def _locate(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[Path, type[BaseModel] | None]:
    """Splits pydantic's location into the path in the document (without union tags) and the model that owns it."""
    path: list[str | int] = []
    owner: type[BaseModel] | None = model
    variants: dict[str, type[Any]] | None = None
    for index, part in enumerate(loc):
        if variants and part in variants:  # the tag that pydantic inserts
            owner, variants = variants[str(part)], None
        elif part != "[key]":
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
        return f"unknown key {key!r}" + did_you_mean(path[-1], owner.model_fields if owner else ())
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


def _rule(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """The rule in the words of YAML."""
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
