"""`gramtune sync`: copies the results in a sweep's folder to an MLflow store."""

from __future__ import annotations

import typer

from gramtune.cli.options import Folder, Register, TrackingUri


def sync(
    folder: Folder,
    tracking_uri: TrackingUri = None,
    register: Register = None,
) -> None:
    """Copy a sweep's results to any MLflow store, at any time; runs that are already there do not change."""
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
