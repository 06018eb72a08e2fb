"""`gramtune sweep`: check, plan, run, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramtune.cli.options import Debug, MaxConcurrent, Runs, Settings, TrackingUri


def sweep(
    space: Annotated[Path, typer.Argument(help="Space file, for example search_spaces/critic_dim.yaml.")],
    base: Annotated[
        str | None, typer.Option(help="Another base: a name in base/ beside the space file, or a path.")
    ] = None,
    settings: Settings = None,
    replicates: Annotated[int | None, typer.Option(help="Random initialisations per trial.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the sweep and its folder.")] = None,
    max_concurrent: MaxConcurrent = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, start nothing.")] = False,
    debug: Debug = False,
    tracking_uri: TrackingUri = None,
    runs: Runs = Path("runs"),
) -> None:
    """Run a sweep on this machine."""
    from gramtune.cli.execute import execute
    from gramtune.cli.plan_text import plan_lines
    from gramtune.paths import data_root
    from gramtune.sweep.faults import Fault, SpecError
    from gramtune.sweep.local_resources import grant
    from gramtune.sweep.plan import make_plan
    from gramtune.sweep.results import write_sweep, write_versions
    from gramtune.sweep.spec import Overrides, load_sweep

    plan = make_plan(load_sweep(space, Overrides(base, name, replicates, tuple(settings or ()))), data_root(), space)
    if dry_run:
        typer.echo("\n".join(plan_lines(plan, max_concurrent)))
        return
    grant(plan.sweep.resources)
    folder = runs / plan.sweep.name
    if folder.exists():
        ways = f"go on with: gramtune resume {folder}; or choose another --name"
        raise SpecError([Fault(str(folder), f"this sweep is there already; {ways}")])
    try:
        folder.mkdir(parents=True)
        write_sweep(plan.sweep, folder)
        write_versions(plan, folder)
    except OSError as error:
        raise SpecError([Fault("--runs", f"{folder} cannot be written: {error.strerror or error}")]) from None
    raise typer.Exit(execute(plan, folder, debug=debug, max_concurrent=max_concurrent, tracking_uri=tracking_uri))
