"""Writes what follows from the code: help texts, JSON Schemas and the reference.

`python docs/generate.py` works from any directory. `tests/test_generated.py` fails where a file is out of date.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
os.environ.update({"COLUMNS": "100", "TERM": "dumb"})  # the width of help texts
for name in ("GRAMTUNE_RUNS", "GRAMTUNE_DATA", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)


def generated() -> Iterator[tuple[Path, str]]:
    """Every generated file, by its path in the checkout, with its text."""
    yield from help_texts()
    yield from schemas()
    yield Path("docs/reference.md"), "\n".join(reference())


def help_texts() -> Iterator[tuple[Path, str]]:
    """docs/help/<command>.txt, and docs/help/gramtune.txt for all of them."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from gramtune.cli.main import app

    group = get_command(app)
    for words in ((), *((name,) for name in group.commands)):
        shown = CliRunner().invoke(app, [*words, "--help"], prog_name="gramtune")
        assert shown.exit_code == 0, shown.output
        yield Path("docs/help") / f"{' '.join(words) or 'gramtune'}.txt", shown.output


def schemas() -> Iterator[tuple[Path, str]]:
    """Those of the shipped files, and of the example of a plug-in, in a process that has not loaded it."""
    from gramtune.space.schema import KINDS, schema_text

    for kind in KINDS:
        yield Path("search_spaces/schema") / f"{kind}.json", schema_text(kind)
    yield Path("examples/moments.schema.json"), _with_plugin("examples/moments.py")


def _with_plugin(file: str) -> str:
    """The schema of space files with the components of a plug-in, which stay in a process of their own."""
    command = [sys.executable, "-m", "gramtune", "schema", "--plugin", file]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout


def reference() -> Iterator[str]:
    """docs/reference.md: every key of a space file and every component, from the models."""
    from gramtune.registry import KINDS, everything
    from gramtune.space.budget import Budget
    from gramtune.space.domain import Domain
    from gramtune.space.population import Scheduler
    from gramtune.space.resources import Resources
    from gramtune.space.search import SAMPLERS, Search
    from gramtune.space.sweep import SweepFile
    from gramtune.training.config import Training, TrialConfig

    yield "# Reference"
    yield ""
    yield "Generated from the models by `python docs/generate.py`. `gramtune describe objective gram` prints the same."
    yield from section("Space file", SweepFile)
    yield from section("Domains: `space.<key>`", Domain)
    for heading, model in (("search", Search), ("scheduler", Scheduler), ("budget", Budget)):
        yield from section(f"`{heading}`", model)
        if model is Search:
            yield from (f"- `{name}`: {text}" for name, text in SAMPLERS.items())
    yield from section("`resources`", Resources)
    yield from section("Base file: one trial", TrialConfig)
    yield from section("`training`", Training)
    for kind, folder in KINDS.items():
        yield from ("", f"## {folder.capitalize()}")
        for name, cls in everything(kind).items():
            yield from section(f"`{name}`", cls, "###")


def section(heading: str, model: type, level: str = "##") -> Iterator[str]:
    """The docstring of a model, and a table of its fields."""
    import inspect

    from gramtune.space.schema import field_rows

    yield from ("", f"{level} {heading}", "", cell(inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0]), "")
    if rows := field_rows(model):
        yield from ("| key | may be | default | meaning |", "|---|---|---|---|")
        for row in rows:
            default = f"`{row.default}`" if row.default else "required"
            yield f"| `{row.name}` | {cell(row.domain)} | {cell(default)} | {cell(row.text)} |"
        yield ""


def cell(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def stale() -> Iterator[tuple[Path, str | None]]:
    """Files that are not as generated, with their text; None for help texts of commands that are gone."""
    texts = dict(generated())
    for path, text in texts.items():
        file = ROOT / path
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            yield path, text
    for file in (ROOT / "docs" / "help").glob("*.txt"):
        if file.relative_to(ROOT) not in texts:
            yield file.relative_to(ROOT), None


def main() -> int:
    """Writes what has changed; with --check, only tells it and returns 1."""
    check = "--check" in sys.argv
    found = dict(stale())
    for path, text in found.items():
        print(path)
        if not check and text is None:
            (ROOT / path).unlink()
        elif not check:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(str(text), encoding="utf-8")
    return int(check and bool(found))


if __name__ == "__main__":
    sys.exit(main())
