"""`gramtune list`, `describe`, `schema`: show the components, samplers, pruners and files to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gramtune.cli.options import Plugins

if TYPE_CHECKING:
    from gramtune.components import Component


class Kind(StrEnum):
    """Kinds of things that a space file can name."""

    OBJECTIVES = "objectives"
    NETWORKS = "networks"
    OPTIMIZERS = "optimizers"
    DATA = "data"
    FEATURES = "features"
    METRICS = "metrics"
    SAMPLERS = "samplers"
    PRUNERS = "pruners"
    SWEEPS = "sweeps"
    BASES = "bases"


class SchemaKind(StrEnum):
    """Kinds of file that have a schema."""

    SPACE = "space"
    BASE = "base"


def list_(
    kind: Annotated[
        Kind | None, typer.Argument(help="One kind [default: the names of all kinds].", show_default=False)
    ] = None,
    plugins: Plugins = None,
) -> None:
    """List components, samplers, pruners and shipped sweeps."""
    _load(plugins)
    if kind:
        found = _lines(kind)
        width = max(map(len, found))
        typer.echo("\n".join(f"{name:<{width}}  {line}" for name, line in found.items()))
        return
    for each in Kind:
        typer.echo(f"{each + ':':<12} {', '.join(_lines(each))}")


def describe(
    kind: Annotated[str, typer.Argument(help="objective, network, optimizer, data, feature, metric, sampler, …")],
    name: Annotated[str, typer.Argument(help="Name, as in YAML: gram.")],
    plugins: Plugins = None,
) -> None:
    """Describe one component: its purpose, its fields with defaults, and its source file."""
    _load(plugins)
    typer.echo("\n".join(_description(_kind(kind), name)))


def schema(
    kind: Annotated[SchemaKind, typer.Option(help="The schema of space files or of base files.")] = SchemaKind.SPACE,
    plugins: Plugins = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write [default: print it].")] = None,
) -> None:
    """Print the JSON Schema of a space file for editors; `--plugin` adds the fields of your own components."""
    from gramtune.space.schema import schema_text

    _load(plugins)
    text = schema_text(kind.value)
    if output is None:
        typer.echo(text, nl=False)
        return
    write(output, text)
    typer.echo(f"{output}; name it in the first line of your file: # yaml-language-server: $schema={output.name}")


def write(output: Path, text: str) -> None:
    """Writes a file. Raises SpecError if it cannot be written."""
    from gramtune.errors import Issue, SpecError
    from gramtune.io import write_atomically

    try:
        write_atomically(output, lambda path: path.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise SpecError([Issue(str(output), f"cannot be written: {error.strerror or error}")]) from None


def _load(plugins: list[str] | None) -> None:
    from gramtune.space.load import load_plugins

    load_plugins(plugins or ())


def _kind(text: str) -> Kind:
    """The kind named by the text; singular and plural (`objective`, `objectives`) are both accepted."""
    from gramtune.errors import Issue, SpecError, did_you_mean

    legal = {kind.value: kind for kind in Kind} | {kind.value.removesuffix("s"): kind for kind in Kind}
    if text not in legal:
        singular = [kind.value.removesuffix("s") for kind in Kind]
        raise SpecError([Issue("describe", f"kind {text!r} does not exist{did_you_mean(text, singular)}")])
    return legal[text]


def _models(kind: Kind) -> Mapping[str, type[Component]]:
    """The components of a kind by name; empty for kinds whose names have no model, such as bases."""
    from gramtune.registry import KINDS, everything

    return next((dict(everything(cls)) for cls, folder in KINDS.items() if folder == kind), {})


def _lines(kind: Kind) -> dict[str, str]:
    """The first line of the description of each name of the kind."""
    from gramtune.space import shipped
    from gramtune.space.search import SAMPLERS
    from gramtune.space.yaml_reader import read_yaml

    if kind is Kind.SWEEPS:
        return {name: str(read_yaml(file).data["about"]) for name, file in shipped.spaces().items()}
    if kind is Kind.BASES:
        return {name: _first_comment(file) for name, file in shipped.bases().items()}
    if kind is Kind.SAMPLERS:
        return dict(SAMPLERS)
    return {name: _first_line(cls) for name, cls in _models(kind).items()}


def _first_comment(file: Path) -> str:
    """The first comment of a base file, which describes it."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ") and "$schema=" not in line), "")


def _first_line(cls: type[Any]) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _description(kind: Kind, name: str) -> Iterator[str]:
    import inspect

    from gramtune.errors import Issue, SpecError, did_you_mean
    from gramtune.space import shipped
    from gramtune.space.schema import field_rows
    from gramtune.space.search import Search

    lines = _lines(kind)
    if name not in lines:
        singular = kind.value.removesuffix("s")
        raise SpecError([Issue("describe", f"{singular} {name!r} does not exist{did_you_mean(name, lines)}")])
    if kind in (Kind.SWEEPS, Kind.BASES):
        file = (shipped.spaces() if kind is Kind.SWEEPS else shipped.bases())[name]
        yield from (str(file), "", file.read_text(encoding="utf-8").rstrip())
        return
    if kind is Kind.SAMPLERS:
        cls: type[Component] = Search
        yield f"{name}: {lines[name]}"
    else:
        cls = _models(kind)[name]
        yield from inspect.cleandoc(cls.__doc__ or "").splitlines()
    yield ""
    for row in field_rows(cls):
        yield f"  {row.name}: {row.domain}" + (f" = {row.default}" if row.default else "  (required)")
        yield from (f"      {line}" for line in _wrapped(row.text))
    yield from ("", f"source: {_source(cls)}")


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 90)


def _source(cls: type[Any]) -> str:
    """The source file of a class; for a plug-in, the plug-in's file name."""
    import sys

    return str(getattr(sys.modules[cls.__module__], "__file__", cls.__module__))
