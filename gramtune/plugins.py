"""The user's own components: a Python file, an installed module, or an entry point.

The text of a plug-in file is sent to every worker and stored in `sweep.yaml`, so a run directory needs no other file.
"""

from __future__ import annotations

import hashlib
import importlib
import linecache
import sys
import traceback
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from pydantic import model_validator

from gramtune.components import Component
from gramtune.io import user_path
from gramtune.registry import KINDS, classes, register, registered_in

PACKAGE = "gramtune_plugins"
"""Prefix of the module names of plug-in files."""


class Plugin(Component):
    """A file with its text, or a module that must be installed on every machine that runs trials."""

    name: str
    """The name of the file, such as `my_gan.py`, or of the module, such as `my_package.gan`."""
    source: str | None = None
    """Text of the file; None for a module."""

    @model_validator(mode="after")
    def _is_loaded(self) -> Plugin:
        self.load()
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the file's text; for a module, of its source file."""
        return hashlib.sha256(_code(self.load())).hexdigest()

    def load(self) -> ModuleType:
        """Imports the plug-in, once per process. Raises a one-line ValueError if that fails or registers nothing."""
        for kind in KINDS:
            classes(kind)  # load the package's own components first, so that a plug-in cannot take their names
        try:
            module = importlib.import_module(self.name) if self.source is None else _module(self.name, self.source)
        except Exception as error:
            raise ValueError(f"plug-in {self.name} cannot be imported: {_where(error, self.name)}") from error
        components = _components.setdefault(module.__name__, registered_in(module.__name__))
        for component in components:
            register(component)  # again, because another version of the file may have been loaded in between
        if not components:
            rule = "decorate a component with gramtune.registry.register"
            raise ValueError(f"plug-in {self.name} registers no component; {rule}")
        _loaded[self.name] = self
        return module


_loaded: dict[str, Plugin] = {}
_components: dict[str, list[type[Component]]] = {}
"""The components that each module has registered."""


def loaded() -> Sequence[Plugin]:
    """The plug-ins loaded in this process. Child processes must load them too."""
    return tuple(_loaded.values())


def read_plugin(text: str, folder: Path) -> Plugin:
    """Reads and loads the plug-in named by `text`: a path relative to `folder`, or a module such as `my_package.gan`.

    Raises a one-line ValueError if the file cannot be read or the plug-in cannot be loaded.
    """
    if not text.endswith(".py"):
        return Plugin(name=text)
    file = folder / user_path(text)
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"plug-in {text} cannot be read: {reason}") from None
    return Plugin(name=file.name, source=source)


def code_of(module: str) -> bytes:
    """The source code of an imported module; part of cache keys."""
    return _code(sys.modules[module])


def _code(module: ModuleType) -> bytes:
    text: str | None = getattr(module, "__source__", None)
    return text.encode() if text is not None else Path(str(module.__file__)).read_bytes()


def _module(name: str, source: str) -> ModuleType:
    """Executes a file's text as a module; the same text only once."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    full = f"{PACKAGE}.{Path(name).stem}_{digest}"
    if full in sys.modules:
        return sys.modules[full]
    module = ModuleType(full)
    module.__file__, module.__spec__ = name, ModuleSpec(full, None, origin=name)
    vars(module)["__source__"] = source
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # for tracebacks
    sys.modules[full] = module  # dataclasses and pydantic look up the module by name
    try:
        exec(compile(source, name, "exec"), vars(module))
    except BaseException:
        del sys.modules[full]
        raise
    return module


def place_in_plugin(error: BaseException) -> str:
    """The innermost line of a plug-in file in an error's traceback, as `my_gan.py:12`; empty if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    files = {name for name, plugin in _loaded.items() if plugin.source is not None}
    return next((f"{frame.filename}:{frame.lineno}" for frame in reversed(frames) if frame.filename in files), "")


def _where(error: Exception, name: str) -> str:
    """The type of an error, its first line, and the plug-in's line that raised it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" + (f" ({name}:{line})" if line else "")
