"""`gramtune report`: rebuilds page, tables, figures and summary of a sweep from its journal; or compares sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramtune.cli.options import local_sweep, user_path


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            parser=local_sweep,
            metavar="FOLDER...",
            help="Folder of a sweep, for example runs/critic-dim; several folders are compared.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", parser=user_path, metavar="PATH", help="File for the comparison of several sweeps."
        ),
    ] = Path("comparison.html"),
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Until the sweep ends, write anew what has changed; the page reloads itself."),
    ] = False,
) -> None:
    """Rebuild page, tables, figures and summary of a finished, interrupted or running sweep; or compare several."""
    try:
        if follow:
            from gramtune.cli.follow import follow_sweep

            follow_sweep(_single(folders))
        elif len(folders) == 1:
            _rebuild(folders[0])
        else:
            _compare(folders, output)
    except OSError as error:
        typer.echo(f"cannot be written: {error.strerror or error}: {error.filename or folders[0]}", err=True)
        raise typer.Exit(1) from None


def _single(folders: list[Path]) -> Path:
    from gramtune.errors import Issue, SpecError

    if len(folders) > 1:
        raise SpecError([Issue("--follow", f"follows one sweep, not {len(folders)}")])
    return folders[0]


def _rebuild(folder: Path) -> None:
    from gramtune.api import rewrite
    from gramtune.report.text.summary import summary_text
    from gramtune.run.run_directory import recorded_state

    state = recorded_state(folder)
    typer.echo(summary_text(state))
    typer.echo(rewrite(state, folder))


def _compare(folders: list[Path], output: Path) -> None:
    from gramtune.analysis.compatibility import named_sweeps
    from gramtune.io import write_atomically
    from gramtune.report.page.comparison import comparison_lines, comparison_page
    from gramtune.run.run_directory import recorded_state

    sweeps = named_sweeps([(folder, recorded_state(folder)) for folder in folders])
    typer.echo("\n".join(comparison_lines(sweeps)) + "\n")
    html = comparison_page(sweeps)
    write_atomically(output, lambda path: path.write_text(html, encoding="utf-8"))
    typer.echo(str(output))
