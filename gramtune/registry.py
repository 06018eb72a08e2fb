"""Registration: a component class, put in a file of its kind's folder and decorated, is legal in YAML by its name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Annotated, Any, TypeVar, Union

from pydantic import Field

from gramtune.components import Component, Dataset, FeatureExtractor, Metric, Network, Objective

KINDS: dict[type[Component], str] = {
    Objective: "objectives",
    Network: "networks",
    Dataset: "data",
    FeatureExtractor: "features",
    Metric: "metrics",
}
"""Each kind and the folder of this package that holds its components."""

C = TypeVar("C", bound=Component)
_registered: dict[type[Component], dict[str, type[Component]]] = {kind: {} for kind in KINDS}


def register(cls: type[C]) -> type[C]:
    """Class decorator: makes `cls` available under the default of its `name` field.

    Raises ValueError if the class is of no known kind or its name is taken by another class.
    """
    kind = next((kind for kind in KINDS if issubclass(cls, kind)), None)
    if kind is None:
        raise ValueError(f"{cls.__name__} is none of {', '.join(k.__name__ for k in KINDS)}")
    name = cls.model_fields["name"].default
    taken = _registered[kind].setdefault(name, cls)
    if taken is not cls:
        raise ValueError(f"{kind.__name__} {name!r} is already {taken.__module__}.{taken.__name__}")
    return cls


@cache
def _discover(kind: type[Component]) -> None:
    """Imports every module in the kind's folder, so that a new file needs no other edit."""
    package = importlib.import_module(f"gramtune.{KINDS[kind]}")
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"{package.__name__}.{module}")


def classes(kind: type[C]) -> dict[str, type[C]]:
    """All components of a kind by name, sorted."""
    _discover(kind)
    return {name: cls for name, cls in sorted(_registered[kind].items()) if issubclass(cls, kind)}


def create(kind: type[C], name: str) -> C:
    """The component of that name with its default hyperparameters. Raises KeyError if there is none."""
    return classes(kind)[name].model_validate({"name": name})


def union(kind: type[C]) -> Any:
    """The pydantic type "any component of this kind", told apart by `name`."""
    members = tuple(classes(kind).values())
    return Annotated[Union[members], Field(discriminator="name")] if len(members) > 1 else members[0]  # noqa: UP007
