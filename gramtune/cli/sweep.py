"""`gramtune sweep`: check, plan, run, report."""

from __future__ import annotations

from typing import Annotated

import typer

from gramtune.cli.options import (
    RUNS,
    Address,
    Base,
    Debug,
    Like,
    MaxConcurrent,
    MaxReplicates,
    OnEnd,
    Pilot,
    Plugins,
    Quiet,
    Register,
    Replicates,
    Runs,
    Samples,
    Settings,
    Space,
    TimeBudget,
    TrackingUri,
    Until,
)


def sweep(
    space: Space,
    base: Base = None,
    settings: Settings = None,
    plugins: Plugins = None,
    replicates: Replicates = None,
    until: Until = None,
    max_replicates: MaxReplicates = None,
    samples: Samples = None,
    time_budget: TimeBudget = None,
    name: Annotated[str | None, typer.Option(help="Name of the sweep and its folder.")] = None,
    max_concurrent: MaxConcurrent = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; start nothing.")] = False,
    pilot: Pilot = None,
    like: Like = None,
    address: Address = None,
    debug: Debug = False,
    tracking_uri: TrackingUri = None,
    register: Register = None,
    command: OnEnd = None,
    runs: Runs = RUNS,
    quiet: Quiet = False,
) -> None:
    """Run a sweep on this machine, or on a running Ray cluster."""
    from functools import partial

    from gramtune.api import open_capacity, resolve_gpu, run_sweep
    from gramtune.cli.execute import ask, execute
    from gramtune.cli.pilot import known_spread
    from gramtune.cli.plan_text import plan_lines
    from gramtune.io import data_root
    from gramtune.record.warm_start import read_warm_start
    from gramtune.run.cost_estimate import estimate
    from gramtune.space.load import Overrides, load_sweep
    from gramtune.space.plan import make_plan

    overrides = Overrides(
        base=base,
        name=name,
        replicates=replicates,
        until=until,
        max_replicates=max_replicates,
        samples=samples,
        time_budget=time_budget,
        set=tuple(settings or ()),
        plugins=tuple(plugins or ()),
    )
    plan = make_plan(load_sweep(space, overrides), data_root())
    known = known_spread(plan, pilot, like, dry_run, partial(run_sweep, runs=runs, debug=debug, address=address))
    if dry_run:
        for note in read_warm_start(plan.sweep, plan.metric).notes:
            typer.echo(note)
        with open_capacity(address, runs, typer.echo) as capacity:
            plan = resolve_gpu(plan, runs / plan.sweep.name, capacity, address, typer.echo)
            guess = estimate(plan, capacity, data_root())
            typer.echo("\n".join(plan_lines(plan, max_concurrent, capacity, guess, known)))
        return
    start = partial(
        run_sweep,
        plan,
        runs,
        debug=debug,
        address=address,
        max_concurrent=max_concurrent,
        tracking_uri=tracking_uri,
        register=register,
        ask=ask,
    )
    raise typer.Exit(execute(start, runs / plan.sweep.name, command, quiet))
