"""`gramtune ui`: the results in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramtune.cli.options import Runs, TrackingUri


def ui(
    port: Annotated[int, typer.Option(help="Port on the loopback interface.")] = 5000,
    tracking_uri: TrackingUri = None,
    runs: Runs = Path("runs"),
) -> None:
    """Open the results in MLflow, on this machine only."""
    from gramtune.backends.mlflow_server import serve
    from gramtune.backends.mlflow_store import default_uri

    raise typer.Exit(serve(tracking_uri or default_uri(runs), port))
