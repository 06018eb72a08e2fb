"""`gramtune attach`, `stop`, `down`: what was launched on a cluster, later and from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gramtune.backends.cluster.target import Target

Cluster = Annotated[Path, typer.Argument(metavar="CLUSTER", help="Cluster file, for example cluster/aws.yaml.")]
Job = Annotated[str | None, typer.Argument(metavar="JOB", help="Job, as launch has named it [default: the newest].")]


def attach(cluster: Cluster, job: Job = None) -> None:
    """Show the output of a launched sweep from its beginning, until it ends."""
    from gramtune.backends.cluster.load import load_target

    target = load_target(cluster)
    with in_one_line():
        follow(target, cluster, job or target.newest())


def stop(
    cluster: Annotated[Path, typer.Argument(help="Cluster file; with --trial, the folder of a running sweep.")],
    job: Job = None,
    trial: Annotated[str | None, typer.Option("--trial", help="Stop this trial alone, by name or number.")] = None,
) -> None:
    """Interrupt a launched sweep, to be resumed later; or stop one trial of a sweep that runs on this machine."""
    if trial is not None:
        from gramtune.run.requests import ask_to_stop
        from gramtune.run.run_directory import recorded_state

        typer.echo(f"{ask_to_stop(recorded_state(cluster), cluster, trial)} stops at its next report")
        return
    from gramtune.backends.cluster.load import load_target

    target = load_target(cluster)
    with in_one_line():
        job = job or target.newest()
        target.stop(job)
        typer.echo(f"stopped {job}; go on with: gramtune launch {cluster} SPACE --resume")


def down(cluster: Cluster) -> None:
    """End a cluster; results on shared storage stay."""
    from gramtune.backends.cluster.load import load_target

    with in_one_line():
        load_target(cluster).down()


def follow(target: Target, cluster: Path, job: str) -> None:
    """Shows the output to its end and exits with the sweep's exit code; Ctrl-C leaves the sweep running."""
    try:
        code = target.follow(job, typer.echo)
    except KeyboardInterrupt:
        typer.echo(f"left; the sweep goes on. gramtune attach {cluster} {job}, or gramtune stop {cluster} {job}")
        raise typer.Exit(130) from None
    raise typer.Exit(code)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Ends the command with exit code 1 and one line where a cluster's tool fails or does not answer."""
    from gramtune.backends.cluster.target import ClusterError

    try:
        yield
    except ClusterError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
