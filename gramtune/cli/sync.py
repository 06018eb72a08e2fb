"""`gramtune sync`: bring an MLflow store up to date with a sweep's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramtune.cli.options import TrackingUri


def sync(
    folder: Annotated[Path, typer.Argument(help="The sweep's folder, for example runs/critic-dim.")],
    tracking_uri: TrackingUri = None,
) -> None:
    """Store a sweep's results in MLflow, at any later time, in any store; what is there already stays as it is."""
    from gramtune.api import existing_plan, tracking_store
    from gramtune.backends.mlflow_tracker import MlflowTracker
    from gramtune.sweep.journal import load_state
    from gramtune.sweep.tracker import TrackerUnavailable

    state = load_state(folder, existing_plan(folder))
    tracker = MlflowTracker(tracking_store(folder, tracking_uri), folder)
    try:
        tracker.sync(state)
        tracker.finish(state, folder)
    except TrackerUnavailable as error:
        typer.echo(f"tracking: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(tracker.link)
