"""`gramtune resume`: resumes an interrupted sweep or extends a finished one."""

from __future__ import annotations

from typing import Annotated

import typer

from gramtune.cli.options import (
    Address,
    Debug,
    Folder,
    MaxConcurrent,
    MaxReplicates,
    OnEnd,
    Quiet,
    Register,
    Replicates,
    Samples,
    Settings,
    TimeBudget,
    TrackingUri,
    Until,
)


def resume(
    folder: Folder,
    replicates: Replicates = None,
    until: Until = None,
    max_replicates: MaxReplicates = None,
    samples: Samples = None,
    time_budget: TimeBudget = None,
    settings: Settings = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", help="Add values to a grid: --add objective.critic_dim=[64, 128]. Repeatable."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Continue failed trials from their last checkpoints.")
    ] = False,
    max_concurrent: MaxConcurrent = None,
    address: Address = None,
    debug: Debug = False,
    tracking_uri: TrackingUri = None,
    register: Register = None,
    command: OnEnd = None,
    quiet: Quiet = False,
) -> None:
    """Resume an interrupted sweep, or extend a finished one; trials continue from their last checkpoints.

    A finished sweep can be given more training steps (--set training.steps=N), grid values (--add), replicates and
    samples.
    """
    from functools import partial

    from gramtune.api import resume_sweep
    from gramtune.cli.execute import execute

    start = partial(
        resume_sweep,
        folder,
        replicates=replicates,
        until=until,
        max_replicates=max_replicates,
        samples=samples,
        time_budget=time_budget,
        settings=tuple(settings or ()),
        add=tuple(add or ()),
        retry_failed=retry_failed,
        debug=debug,
        address=address,
        max_concurrent=max_concurrent,
        tracking_uri=tracking_uri,
        register=register,
    )
    raise typer.Exit(execute(start, folder, command, quiet))
