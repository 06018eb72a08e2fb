"""`gramtune doctor`: checks whether this machine or cluster can run a sweep."""

from __future__ import annotations

import typer

from gramtune.cli.options import RUNS, Address, Runs, TrackingUri
from gramtune.errors import count


def doctor(address: Address = None, runs: Runs = RUNS, tracking_uri: TrackingUri = None) -> None:
    """Check versions, GPUs, data, shared storage and clock of every node, and the tracking server.

    Exits with 1 if there is an issue.
    """
    from gramtune.backends.doctor import examine

    issues = 0
    for finding in examine(address, runs, tracking_uri):
        verdict = "FAULT" if finding.remedy else "ok   "
        typer.echo(f"{verdict}  {finding.node:<15}  {finding.subject:<9} {finding.text}")
        if finding.remedy:
            typer.echo(f"       {'':<15}  {'':<9} → {finding.remedy}")
            issues += 1
    if issues:
        typer.echo(f"{count(issues, 'issue')}")
        raise typer.Exit(1)
