"""Faults in what the user wrote: collected, raised once, one line each with value, rule, alternatives and place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

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
        self.faults = list(dict.fromkeys(faults))
        super().__init__("\n".join(map(str, self.faults)))


def did_you_mean(word: object, legal: Iterable[str]) -> str:
    """`; did you mean 'x'? legal: x, y, z`, without the question where nothing is near."""
    legal = list(legal)
    near = difflib.get_close_matches(str(word), legal, n=1)
    return (f"; did you mean {near[0]!r}?" if near else ";") + f" legal: {', '.join(legal)}"


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
    for part in loc:
        if variants and part in variants:  # the tag that pydantic inserts
            owner, variants = variants[str(part)], None
            continue
        path.append(part)
        if isinstance(part, int) or owner is None or part not in owner.model_fields or part == loc[-1]:
            continue
        variants = _variants(str(part))
        annotation = owner.model_fields[str(part)].annotation
        if variants is None:
            owner = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return tuple(path), owner


def _message(detail: ErrorDetails, path: Path, owner: type[BaseModel] | None) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    key = dotted(path)
    if kind == "extra_forbidden" and owner is not None:
        return f"unknown key {key!r}" + did_you_mean(path[-1], owner.model_fields)
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
        return str(context["error"]) if not key else f"{key}: {context['error']}"
    rule = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    hint = "; a number in quotes is a string" if isinstance(value, str) and _is_number(value) else ""
    return f"{key} = {value!r} should be {rule}{hint}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
