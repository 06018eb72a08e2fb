"""Reads YAML with line numbers and YAML 1.2 numbers; refuses duplicate keys."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import yaml

from gramtune.errors import Issue, Path, SpecError, did_you_mean

_MAX_SIZE = 64_000
"""Limit of a file in bytes, and of its data in entries with aliases expanded. PyYAML reads 50,000 per second."""
_MAX_DEPTH = 32
_MAX_BITS = 4096
"""Most bits of an integer: Python refuses to print more than 4,300 digits, which hexadecimal numbers can have."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars: `1e-3` is a number, `no` and `2024-01-02` are text; PyYAML uses 1.1."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML declares it so

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Python's value of a node. Unlike PyYAML's, errors for `!!bool maybe` and the like have a line number."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and value.bit_length() > _MAX_BITS:
                raise ValueError("cannot be printed")
            return value
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"{node.value!r} is not a legal value of type {kind}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes every text that `_Loader` would not read back as text."""

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


@dataclass(frozen=True)
class Document:
    """A parsed file: its data and the line of each key and list entry. Values given in Python have no lines."""

    file: str
    data: Any
    lines: Mapping[Path, int]
    folder: FilePath = FilePath()
    """The folder that paths in the file are relative to."""

    def where(self, path: Path = ()) -> str:
        """file:line of `path`, or of its nearest known parent; for a sweep written in Python, the line of the call."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.file}:{self.lines.get(path, 1)}" if self.lines else self.file


def parse_value(text: str) -> Any:
    """A YAML value from the command line. Raises ValueError if it is not YAML, or has a key twice."""
    parsed = _parse(text)
    if parsed.issues:
        raise ValueError(f"{text!r}: {parsed.issues[0].message}")
    return parsed.data


def yaml_text(data: Any) -> str:
    """`data` as YAML for people, keys in their order, innermost lists and mappings on one line; reads back equal."""
    return yaml.dump(data, Dumper=_Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=120)


def read_yaml(file: FilePath, named_by: str | None = None, shipped: Iterable[str] = ()) -> Document:
    """Reads a YAML mapping. Raises SpecError for a missing file, bad syntax, duplicate keys and similar issues.

    For the message, `named_by` is the origin of the file's name, and `shipped` are legal names of shipped files.
    """
    where = named_by or str(file)
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_SIZE + 1)
    except FileNotFoundError:
        siblings = sorted(p.name for p in file.parent.glob("*.y*ml")) if file.parent.is_dir() else []
        there = f"; {file.parent} holds {', '.join(siblings)}" if siblings else ""
        if names := list(shipped):
            there = did_you_mean(file.stem, names).replace("legal:", "shipped with gramtune:")
        raise SpecError([Issue(where, f"file {str(file)!r} does not exist{there}")]) from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise SpecError([Issue(where, f"file {str(file)!r} cannot be read: {reason}")]) from None
    if len(content) > _MAX_SIZE:
        raise SpecError([Issue(where, f"file {str(file)!r} is larger than {_MAX_SIZE:,} bytes")])
    return _document(content, str(file))


def _document(content: bytes, file: str) -> Document:
    try:
        text = re.sub("\r\n?", "\n", content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise SpecError(
            [Issue(f"{file}:{line}", f"cannot be read: byte {content[error.start]:#x} is not UTF-8")]
        ) from None
    parsed = _parse(text)
    if not parsed.issues and not isinstance(parsed.data, dict):
        kind = type(parsed.data).__name__
        raise SpecError([Issue(f"{file}:1", f"should be a mapping of keys to values, not {kind}")])
    if parsed.issues:
        raise SpecError(Issue(f"{file}:{issue.line}", issue.message) for issue in parsed.issues)
    return Document(file, parsed.data, parsed.lines, FilePath(file).parent)


@dataclass(frozen=True)
class _IssueAtLine:
    """A message and its line."""

    line: int
    message: str


@dataclass(frozen=True)
class _Parsed:
    """A parsed YAML text: data, the line of every path, and issues. With issues the data are None."""

    data: Any
    lines: Mapping[Path, int]
    issues: Sequence[_IssueAtLine]


def _parse(text: str) -> _Parsed:
    index = _Index(text)
    try:
        loader = _Loader(text)
        if (node := loader.get_single_node()) is not None:
            index.add(node, ())
        data = None if index.issues or node is None else loader.construct_document(node)
    except (yaml.YAMLError, RecursionError) as error:
        return _Parsed(None, {}, [_IssueAtLine(index.line(_mark(error)), f"not YAML: {_problem(error)}")])
    return _Parsed(data, index.lines, index.issues)


class _Index:
    """Finds the line of every key and list entry of a text, and keys that are repeated or not strings."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {(): 1}
        self.issues: list[_IssueAtLine] = []
        self._starts = [0, *(match.end() for match in re.finditer("\n", text.removesuffix("\n")))]
        self._entries = 0
        self._section: yaml.Node | None = None

    def line(self, mark: yaml.Mark | None) -> int:
        """The line number as editors count lines: PyYAML also starts a new line at U+0085, U+2028 and U+2029."""
        return bisect_right(self._starts, mark.index) if mark else 1

    def add(self, node: yaml.Node, path: Path) -> None:
        """Records everything below `node`. Raises YAMLError if it is too deep or too large."""
        if len(path) > _MAX_DEPTH:
            raise _error(f"nested deeper than {_MAX_DEPTH} levels", node)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    self._add_key(key, path)
                    self._add_value((*path, key.value), key, value)
                else:
                    self.issues.append(_IssueAtLine(self.line(key.start_mark), "a key should be text"))
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._add_value((*path, index), value, value)

    def _add_key(self, key: yaml.ScalarNode, path: Path) -> None:
        if (*path, key.value) in self.lines and key.value != "<<":
            self.issues.append(_IssueAtLine(self.line(key.start_mark), f"key {key.value!r} is given twice"))

    def _add_value(self, path: Path, at: yaml.Node, value: yaml.Node) -> None:
        self._entries += 1
        self._section = at if len(path) == 1 or self._section is None else self._section
        if self._entries > _MAX_SIZE:  # aliases of aliases of aliases
            raise _error(f"more than {_MAX_SIZE:,} entries", self._section)
        self.lines[path] = self.line(at.start_mark)
        self.add(value, path)


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _mark(error: Exception) -> yaml.Mark | None:
    """The line of an error; illegal characters only have a position."""
    if isinstance(error, yaml.reader.ReaderError):
        return yaml.Mark("", error.position, 0, 0, None, 0)
    return getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(getattr(error, "problem", None) or str(error).splitlines()[0])
