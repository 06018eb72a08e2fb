"""YAML with line numbers, YAML 1.2 numbers and no duplicate keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import yaml

from gramtune.sweep.faults import Fault, Path, SpecError


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars: `1e-3` is a number, `no` and `2024-01-02` are text; PyYAML's are 1.1's."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML declares it so


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what `_Loader` would not read back as text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML declares it so


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)", "-+.0123456789"),
    ("merge", "<<", "<"),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


class Document(NamedTuple):
    """A parsed file: its data, and the line on which each key or list entry stands."""

    file: str
    data: Any
    lines: Mapping[Path, int]

    def where(self, path: Path = ()) -> str:
        """file:line of the longest known part of `path`."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.file}:{self.lines.get(path, 1)}"


def parse_value(text: str) -> Any:
    """A YAML value from the command line. Raises ValueError if it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is not YAML: {_problem(error)}") from error


def yaml_text(data: Any) -> str:
    """`data` as YAML for people, keys in their order, innermost lists and mappings on one line; reads back equal."""
    return yaml.dump(data, Dumper=_Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=120)


def read_yaml(file: FilePath, named_by: str | None = None) -> Document:
    """Reads a YAML mapping. Raises SpecError for a missing file, bad syntax, duplicate keys or anything else.

    `named_by` is the place that named the file, for the error message.
    """
    where = named_by or str(file)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        siblings = sorted(p.name for p in file.parent.glob("*.y*ml")) if file.parent.is_dir() else []
        there = f"; {file.parent} holds {', '.join(siblings)}" if siblings else ""
        raise SpecError([Fault(where, f"file {str(file)!r} does not exist{there}")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Fault(where, f"file {str(file)!r} cannot be read: {error}")]) from None
    return _parse(text, str(file))


def _parse(text: str, file: str) -> Document:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {(): 1}
        faults = _walk(node, (), lines, file) if node is not None else []
        data = loader.construct_document(node) if node is not None else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an integer with too many digits
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = mark.line + 1 if mark else 1
        raise SpecError([Fault(f"{file}:{line}", f"not YAML: {_problem(error)}")]) from None
    finally:
        loader.dispose()
    if faults:
        raise SpecError(faults)
    if not isinstance(data, dict):
        raise SpecError([Fault(f"{file}:1", f"should be a mapping of keys to values, not {type(data).__name__}")])
    return Document(file, data, lines)


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int], file: str) -> list[Fault]:
    """Notes the line of every key and entry below `node`; returns a fault per key that is given twice."""
    faults: list[Fault] = []
    if len(path) > 32:
        raise yaml.YAMLError("nested deeper than 32 levels")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, str(key.value))
            if place in lines and key.value != "<<":
                faults.append(Fault(f"{file}:{key.start_mark.line + 1}", f"key {key.value!r} is given twice"))
            lines[place] = key.start_mark.line + 1
            faults += _walk(value, place, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            faults += _walk(value, (*path, index), lines, file)
    return faults


def _problem(error: Exception) -> str:
    return str(getattr(error, "problem", None) or str(error).splitlines()[0])
