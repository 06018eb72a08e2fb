"""`gramtune enqueue`: adds one trial to a sweep, from another terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from gramtune.cli.options import Folder


def enqueue(
    folder: Folder,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="A value for every varied key.")],
) -> None:
    """Add one trial to a sweep. A running sweep starts it after the next report, a finished one when it is resumed."""
    from gramtune.run.requests import ask_for
    from gramtune.run.run_directory import recorded_state

    typer.echo(f"enqueued {ask_for(recorded_state(folder), folder, settings)}")
