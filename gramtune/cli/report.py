"""`gramtune report`: page, tables, figures and summary of a sweep, rebuilt from its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="The sweep's folder, for example runs/critic-dim.")],
) -> None:
    """Rebuild page, tables, figures and summary of a sweep, finished, interrupted or running; trains nothing."""
    from gramtune.api import rewrite
    from gramtune.report.tables import summary_text
    from gramtune.sweep.folder import recorded_state

    state = recorded_state(folder)
    typer.echo(summary_text(state))
    try:
        typer.echo(rewrite(state, folder))
    except OSError as error:
        typer.echo(f"{folder} cannot be written: {error.strerror or error}", err=True)
        raise typer.Exit(1) from None
