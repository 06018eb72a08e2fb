"""`gramtune ui`: opens the results in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramtune.cli.options import TrackingUri, local_runs


def ui(
    port: Annotated[int, typer.Option(help="Port on the loopback interface.")] = 5000,
    tracking_uri: TrackingUri = None,
    runs: Annotated[
        Path | None,
        typer.Option(
            envvar="GRAMTUNE_RUNS",
            parser=local_runs,
            metavar="PATH",
            help="Folder of all sweeps [default: the nearest one, in this folder or a parent folder].",
        ),
    ] = None,
) -> None:
    """Open the results in MLflow. The server is reachable from this machine only."""
    from gramtune.backends.mlflow.server import serve
    from gramtune.backends.mlflow.store import default_uri

    folder = runs or (Path("runs") if tracking_uri else _nearest())
    say = typer.echo  # unlike print it flushes: `gramtune ui > log &` shows the address
    raise typer.Exit(serve(tracking_uri or default_uri(folder), port, folder, say))


def _nearest() -> Path:
    """Finds the nearest folder of sweeps; prints it and the others. Raises SpecError if there is none."""
    from gramtune.backends.mlflow.store import found_stores
    from gramtune.errors import Issue, SpecError
    from gramtune.io import command

    here = Path.cwd()
    found = found_stores(here)
    if not found:
        rule = "neither this folder nor a parent holds a sweep that MLflow knows; name the folder of sweeps with --runs"
        raise SpecError([Issue(str(here), rule)])
    nearest, *others = found
    typer.echo(f"showing the sweeps in {nearest}")
    for other in others:
        typer.echo(f"other sweeps: {command('ui', '--runs', other)}")
    return nearest
