"""`gramtune enqueue`: one more trial for a sweep, from another terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from gramtune.cli.options import Folder


def enqueue(
    folder: Folder,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="A value for every varied key.")],
) -> None:
    """Ask a sweep for one more trial; its driver takes it up at the next report, or when it is resumed."""
    from gramtune.run.requests import ask_for
    from gramtune.run.run_directory import recorded_state

    typer.echo(f"enqueued {ask_for(recorded_state(folder), folder, settings)}")
