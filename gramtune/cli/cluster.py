"""`gramtune attach`, `stop`, `down`: control a sweep that was launched on a cluster, from any machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gramtune.io import command

if TYPE_CHECKING:
    from gramtune.backends.cluster.target import Target

Cluster = Annotated[Path, typer.Argument(metavar="CLUSTER", help="Cluster file, for example cluster/aws.yaml.")]
Job = Annotated[
    str | None, typer.Argument(metavar="JOB", help="Name of the job, as printed by launch [default: the newest].")
]


def attach(cluster: Cluster, job: Job = None) -> None:
    """Show the output of a launched sweep from its beginning, until it ends."""
    from gramtune.backends.cluster.load import load_target

    target = load_target(cluster)
    with in_one_line():
        follow(target, cluster, job or target.newest())


def stop(
    cluster: Annotated[Path, typer.Argument(help="Cluster file; with --trial, the folder of a running sweep.")],
    job: Job = None,
    trial: Annotated[str | None, typer.Option("--trial", help="Stop only this trial, given by name or number.")] = None,
) -> None:
    """Interrupt a launched sweep so that it can be resumed; or stop one trial of a sweep running on this machine."""
    if trial is not None:
        from gramtune.run.requests import ask_to_stop
        from gramtune.run.run_directory import recorded_state

        typer.echo(f"{ask_to_stop(recorded_state(cluster), cluster, trial)} will stop at its next report")
        return
    from gramtune.backends.cluster.load import load_target

    target = load_target(cluster)
    with in_one_line():
        job = job or target.newest()
        target.stop(job)
        typer.echo(f"stopped {job}; resume with: {command('launch', cluster, 'SPACE', '--resume')}")


def down(cluster: Cluster) -> None:
    """Shut down a cluster; results on shared storage are kept."""
    from gramtune.backends.cluster.load import load_target

    with in_one_line():
        load_target(cluster).down()


def follow(target: Target, cluster: Path, job: str) -> None:
    """Shows the job's output until it ends, then exits with the sweep's exit code; Ctrl-C leaves the sweep running."""
    try:
        code = target.follow(job, typer.echo)
    except KeyboardInterrupt:
        either = f"{command('attach', cluster, job)}, or {command('stop', cluster, job)}"
        typer.echo(f"detached; the sweep is still running; next: {either}")
        raise typer.Exit(130) from None
    raise typer.Exit(code)


@contextmanager
def in_one_line() -> Iterator[None]:
    """If a cluster's tool fails or does not answer, prints one line and exits with code 1."""
    from gramtune.backends.cluster.target import ClusterError

    try:
        yield
    except ClusterError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
