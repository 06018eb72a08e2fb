"""Registers components: a decorated class can be named in YAML."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.metadata import entry_points
from typing import Annotated, Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from gramtune.components import Component, Dataset, FeatureExtractor, Metric, Network, Objective, Optimizer, Pruner
from gramtune.errors import Issue, SpecError

KINDS: dict[type[Component], str] = {
    Objective: "objectives",
    Network: "networks",
    Optimizer: "optimizers",
    Dataset: "data",
    FeatureExtractor: "features",
    Metric: "metrics",
    Pruner: "pruners",
}
"""The kinds of component, each with the folder of this package that holds its components."""

LIBRARIES: dict[type[Component], str] = {Pruner: "gramtune.backends.optuna.pruners"}
"""Modules with components of other libraries. Importing them takes time, so it is done only if a name is unknown
without them, or if all names are needed."""

C = TypeVar("C", bound=Component)
_registered: dict[type[Component], dict[str, type[Component]]] = {kind: {} for kind in KINDS}


_refused: dict[tuple[type[Component], str], str] = {}


def register(cls: type[C]) -> type[C]:
    """Class decorator that registers `cls` under the default value of its `name` field.

    Raises ValueError if the class has no known kind, or if another class has its name.
    """
    kind = next((kind for kind in KINDS if issubclass(cls, kind)), None)
    if kind is None:
        raise ValueError(f"{cls.__name__} is none of {', '.join(k.__name__ for k in KINDS)}")
    name = cls.model_fields["name"].default
    taken = _registered[kind].setdefault(name, cls)
    if taken is not cls and not _is_newer(cls, taken):
        raise ValueError(f"{kind.__name__} {name!r} is already {taken.__module__}.{taken.__name__}")
    _registered[kind][name] = cls
    return cls


def _is_newer(cls: type[Component], taken: type[Component]) -> bool:
    """Whether `cls` is a new version of `taken`, from an edited plug-in file or a notebook cell that ran again."""
    if cls.__qualname__ != taken.__qualname__:
        return False
    module, other = cls.__module__, taken.__module__
    file = module.rpartition("_")[0]
    return module == other == "__main__" or (
        module.startswith("gramtune_plugins.") and file == other.rpartition("_")[0]
    )


@contextmanager
def restored() -> Iterator[None]:
    """Components that are registered within the block are legal in it and not afterwards: for tests.

    Those of other libraries stay, since `_load_library` imports a library once.
    """
    for kind in KINDS:
        _discover(kind)
    before = {kind: dict(members) for kind, members in _registered.items()}
    try:
        yield
    finally:
        libraries = {kind: registered_in(module) for kind, module in LIBRARIES.items()}
        _registered.update(before)
        for kind, members in libraries.items():
            _registered[kind].update({cls.model_fields["name"].default: cls for cls in members})


def registered_in(module: str) -> list[type[Component]]:
    """The components that a module registered."""
    return [cls for kind in _registered.values() for cls in kind.values() if cls.__module__ == module]


@cache
def _discover(kind: type[Component]) -> None:
    """Imports every module in the kind's folder, so that a new file needs no other edit."""
    package = importlib.import_module(f"gramtune.{KINDS[kind]}")
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"{package.__name__}.{module}")
    _load_entry_points()


@cache
def _load_entry_points() -> None:
    """Imports the modules that installed packages list under the entry point `gramtune.components`."""
    for point in entry_points(group="gramtune.components"):
        try:
            point.load()
        except Exception as error:
            first = next(iter(str(error).splitlines()), "")
            message = f"entry point {point.name} = {point.value} fails: {type(error).__name__}: {first}"
            raise SpecError([Issue("gramtune.components", message)]) from error


def classes(kind: type[C]) -> dict[str, type[C]]:
    """All components of a kind, by name, in alphabetical order."""
    _discover(kind)
    return {name: cls for name, cls in sorted(_registered[kind].items()) if issubclass(cls, kind)}


def everything(kind: type[C]) -> dict[str, type[C]]:
    """`classes`, with those of other libraries."""
    _load_library(kind)
    return classes(kind)


@cache
def _load_library(kind: type[Component]) -> None:
    if kind in LIBRARIES:
        importlib.import_module(LIBRARIES[kind])


def refuse(kind: type[Component], name: str, reason: str) -> None:
    """Makes `reason` the issue with a component of that name."""
    _refused[kind, name] = reason


def create(kind: type[C], name: str) -> C:
    """The component of that name with its default hyperparameters. Raises KeyError if there is none."""
    return classes(kind)[name].model_validate({"name": name})


def component(kind: type[C], value: Any) -> C:
    """The component of a mapping as in YAML.

    Raises pydantic's ValidationError, as a union discriminated by `name`, or ValueError for a name that is refused.
    """
    name = value.get("name") if isinstance(value, dict) else None
    if isinstance(name, str) and name not in classes(kind):
        _load_library(kind)
        if reason := _refused.get((kind, name)):
            raise ValueError(reason)
    found: C = _adapter(kind, tuple(classes(kind).values())).validate_python(value)
    return found


class Named:
    """Annotation of a field that holds a component; looks up the component's name at each validation.

    A component registered later by a plug-in or a notebook is therefore legal at once. Errors are those of a pydantic
    union discriminated by `name`. With `short`, the name alone means the component with its defaults. `default`: the
    name assumed for a mapping without one.
    """

    def __init__(self, kind: type[Component], *, short: bool = False, default: str | None = None) -> None:
        self.kind, self.short, self.default = kind, short, default

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._resolve,
            serialization=core_schema.plain_serializer_function_ser_schema(_dumped, info_arg=True),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """JSON schema for editors, in which the value of `name` selects the fields."""
        members = everything(self.kind)
        choices = [
            {
                "if": {"properties": {"name": {"const": name}}, "required": ["name"][: name != self.default]},
                "then": handler(cls.__pydantic_core_schema__),
            }
            for name, cls in members.items()
        ]
        name = {"enum": list(members), "description": f"Which of the {KINDS[self.kind]}."}
        required = {} if self.default else {"required": ["name"]}
        whole = {"type": "object", "properties": {"name": name}, **required, "allOf": choices}
        return {"anyOf": [{"enum": list(members)}, whole]} if self.short else whole

    def _resolve(self, value: Any) -> Component:
        if isinstance(value, self.kind):
            return value
        if self.short and isinstance(value, str):
            value = {"name": value}
        if self.default and isinstance(value, dict):
            value = {"name": self.default, **value}
        return component(self.kind, value)


@lru_cache(64)
def _adapter(kind: type[Component], members: tuple[type[Component], ...]) -> TypeAdapter[Any]:
    """The validator for any component of the kind; a new one is built when a component is registered."""
    return TypeAdapter(Annotated[Any, _Choice(members)])


class _Choice:
    """A union of models discriminated by `name`, which may have a single member."""

    def __init__(self, members: tuple[type[Component], ...]) -> None:
        self._members = members

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {cls.model_fields["name"].default: handler.generate_schema(cls) for cls in self._members}
        return core_schema.tagged_union_schema(choices, discriminator="name")


def _dumped(component: Component, info: SerializationInfo) -> dict[str, Any]:
    return component.model_dump(mode=info.mode, exclude_none=info.exclude_none)
