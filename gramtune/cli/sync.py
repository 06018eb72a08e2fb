"""`gramtune sync`: bring an MLflow store up to date with a sweep's folder."""

from __future__ import annotations

import typer

from gramtune.cli.options import Folder, Register, TrackingUri


def sync(
    folder: Folder,
    tracking_uri: TrackingUri = None,
    register: Register = None,
) -> None:
    """Store a sweep's results in MLflow, at any later time, in any store; what is there already stays as it is."""
    from gramtune.api import make_tracker
    from gramtune.record.tracker import TrackerUnavailable
    from gramtune.run.run_directory import recorded_state

    tracker = make_tracker(folder, tracking_uri, register)
    state = recorded_state(folder)
    try:
        tracker.finish(state, folder)
    except TrackerUnavailable as error:
        typer.echo(f"tracking: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{tracker.link}{tracker.hint}")
