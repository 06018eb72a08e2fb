"""`gramtune launch`: starts a sweep on a cluster, from any machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gramtune.cli.cluster import Cluster, follow, in_one_line
from gramtune.cli.command import Command
from gramtune.cli.options import Space

if TYPE_CHECKING:
    from gramtune.backends.cluster.target import Request

_OVERRIDES = ("base", "name", "replicates", "until", "max_replicates", "samples", "time_budget")
_FORWARDED = {"max_concurrent": "--max-concurrent", "tracking_uri": "--tracking-uri", "register": "--register"}
"""Options of `sweep` that do not change the sweep itself; launch passes them on if they are given."""
_LOCAL = {
    "debug": "--debug",
    "address": "--address",
    "dry_run": "--dry-run",
    "pilot": "--pilot",
    "like": "--like",
    "quiet": "--quiet",
    "command": "--on-end",
}


class LaunchCommand(Command):
    """A command whose help also lists the options of sweep, which it passes to the cluster."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the command's own options, then those of sweep."""
        super().format_options(ctx, formatter)
        own = {option for parameter in self.params for option in parameter.opts}
        passed = [p for p in _sweep_command().params if p.name not in _LOCAL and not own & set(p.opts)]
        with formatter.section("Options of sweep"):
            formatter.write_dl([record for p in passed if (record := p.get_help_record(ctx))])


def launch(
    context: typer.Context,
    cluster: Cluster,
    space: Space,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the sweep of that name on the cluster.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not show the output.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything; start nothing.")] = False,
) -> None:
    """Run a sweep on a cluster: start the cluster, upload the package, submit the job, show its output."""
    from gramtune.backends.cluster.load import load_target
    from gramtune.io import command

    request = _request(space, context.args, resume)
    target = load_target(cluster)
    if dry_run:
        typer.echo("\n".join(target.steps(request)))
        return
    with in_one_line():
        target.up(typer.echo)
        job = target.submit(request)
        typer.echo(f"job {job}; leave with Ctrl-C, come back with: {command('attach', cluster, job)}")
        if not detach:
            follow(target, cluster, job)


def _request(space: Path, words: list[str], resume: bool) -> Request:
    """The sweep as `gramtune sweep SPACE WORDS…` would run it. Raises SpecError, or click's UsageError."""
    from gramtune.backends.cluster.target import Request
    from gramtune.errors import Issue, SpecError
    from gramtune.io import remote_runs
    from gramtune.space.load import Overrides, load_sweep

    given = _given(space, words)
    local, why = [name for name in _LOCAL if name in given], "because the sweep runs on the cluster"
    issues = [Issue(_LOCAL[name], f"is not an option of launch, {why}; use it with `gramtune sweep`") for name in local]
    runs = (remote_runs(given["runs"]) or str(given["runs"])) if "runs" in given else None
    if runs and "://" not in runs and not Path(runs).is_absolute():
        issues.append(Issue("--runs", f"{runs} should be an absolute path, of a folder that the cluster's nodes share"))
    if issues:
        raise SpecError(issues)
    overrides = Overrides(**{key: given[key] for key in _OVERRIDES if key in given})
    overrides = replace(overrides, set=tuple(given.get("settings") or ()), plugins=tuple(given.get("plugins") or ()))
    options = [word for key, option in _FORWARDED.items() if key in given for word in (option, str(given[key]))]
    return Request(load_sweep(space, overrides), runs, resume, tuple(options))


def _given(space: Path, words: list[str]) -> dict[str, Any]:
    """The options of `gramtune sweep` given by these words, by parameter name."""
    context = _sweep_command().make_context("gramtune launch CLUSTER", [str(space), *words])
    sources = {key: context.get_parameter_source(key) for key in context.params}
    return {key: context.params[key] for key, source in sources.items() if source and source.name == "COMMANDLINE"}


def _sweep_command() -> Any:
    from typer.main import get_command

    from gramtune.cli.sweep import sweep

    app = typer.Typer(add_completion=False)
    app.command(cls=Command)(sweep)
    return get_command(app)
