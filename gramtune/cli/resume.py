"""`gramtune resume`: go on with an interrupted sweep."""

from __future__ import annotations

import typer

from gramtune.cli.options import (
    Address,
    Debug,
    Folder,
    MaxConcurrent,
    Quiet,
    Register,
    Replicates,
    Samples,
    TimeBudget,
    TrackingUri,
)


def resume(
    folder: Folder,
    replicates: Replicates = None,
    samples: Samples = None,
    time_budget: TimeBudget = None,
    max_concurrent: MaxConcurrent = None,
    address: Address = None,
    debug: Debug = False,
    tracking_uri: TrackingUri = None,
    register: Register = None,
    quiet: Quiet = False,
) -> None:
    """Go on with an interrupted sweep, or add to a finished one; trials continue from their last checkpoint."""
    from functools import partial

    from gramtune.api import resume_sweep
    from gramtune.cli.execute import execute

    start = partial(
        resume_sweep,
        folder,
        replicates=replicates,
        samples=samples,
        time_budget=time_budget,
        debug=debug,
        address=address,
        max_concurrent=max_concurrent,
        tracking_uri=tracking_uri,
        register=register,
    )
    raise typer.Exit(execute(start, quiet))
