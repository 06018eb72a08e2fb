"""`gramtune clean`: deletes checkpoints to free disk space."""

from __future__ import annotations

from typing import Annotated

import typer

from gramtune.cli.options import Folder


def clean(
    folder: Folder,
    everything: Annotated[
        bool, typer.Option("--all", help="Also delete checkpoints of the best trial and of unfinished trials.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print how much would be freed; delete nothing.")] = False,
) -> None:
    """Delete a sweep's checkpoints except the best trial's; the journal, tables and figures stay."""
    from gramtune.cli.text import size
    from gramtune.errors import count
    from gramtune.run.clean import clean as delete
    from gramtune.run.lock import driving
    from gramtune.run.run_directory import recorded_state

    state = recorded_state(folder)
    with driving(folder):
        done = delete(state, folder, everything, dry_run)
    verb = "would be deleted" if dry_run else "deleted"
    kept = f"; kept: {', '.join(done.kept)}" if done.kept else ""
    typer.echo(f"{size(done.size)}: {count(done.files, 'checkpoint')} of {count(done.trials, 'trial')} {verb}{kept}")
