"""`gramtune show` and `diff`: the configuration of a trial, and the differences between two sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gramtune.cli.options import Base, Plugins, Settings, complete_space, space_or_run

if TYPE_CHECKING:
    from gramtune.space.load import Overrides
    from gramtune.space.plan import PlannedTrial
    from gramtune.space.sweep import Sweep

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SPACE",
        parser=space_or_run,
        help="A space file, a shipped space, or a sweep's folder.",
        autocompletion=complete_space,
    ),
]


def show(
    space: Source,
    trial: Annotated[str | None, typer.Option(help="Number or name of a trial [default: list them].")] = None,
    base: Base = None,
    settings: Settings = None,
    plugins: Plugins = None,
) -> None:
    """List the trials of a sweep, or show the complete configuration of one of them."""
    from gramtune.space.load import Overrides
    from gramtune.space.yaml_reader import yaml_text

    overrides = Overrides(base=base, set=tuple(settings or ()), plugins=tuple(plugins or ()))
    trials = _trials(space, overrides)
    if trial is None:
        width = len(str(len(trials)))
        typer.echo("\n".join(f"{number:>{width}}  {each.name}" for number, each in enumerate(trials)))
        return
    number, chosen = _chosen(trials, trial)
    typer.echo(f"# trial {number} of {len(trials)} (from 0): {chosen.name}")
    typer.echo(yaml_text(chosen.config.model_dump(mode="json", exclude_none=True)), nl=False)


def diff(
    first: Source,
    second: Annotated[
        Path,
        typer.Argument(
            metavar="OTHER",
            parser=space_or_run,
            help="The other sweep: a space file, a shipped space, or a sweep's folder.",
        ),
    ],
) -> None:
    """Show which settings of two sweeps differ, and for two folders which versions of code and packages."""
    from gramtune.record.tables import read_versions
    from gramtune.record.versions import changed_since
    from gramtune.run.resume_policy import changes

    ours, theirs = _sweep(first), _sweep(second)
    lines = [str(change) for change in changes(ours, theirs)]
    if first.is_dir() and second.is_dir():
        lines += changed_since(read_versions(first), read_versions(second))
    typer.echo("\n".join(lines) or "no difference")


def _sweep(source: Path) -> Sweep:
    from gramtune.record.tables import SWEEP_FILE
    from gramtune.space.load import load_sweep

    return load_sweep(source / SWEEP_FILE if source.is_dir() else source)


def _trials(source: Path, overrides: Overrides) -> list[PlannedTrial]:
    """The trials of a grid, or those that a sampled sweep has started. Raises SpecError if there are none yet."""
    from gramtune.errors import Issue, SpecError
    from gramtune.run.run_directory import recorded_state
    from gramtune.space.load import load_sweep
    from gramtune.space.plan import all_trials

    if source.is_dir():
        trials = [record.trial for record in recorded_state(source).records.values()]
    else:
        sweep = load_sweep(source, overrides)
        trials = all_trials(sweep) if sweep.search.name == "grid" else []
    if not trials:
        raise SpecError([Issue(str(source), "has no trial yet: they are sampled while the sweep runs")])
    return trials


def _chosen(trials: list[PlannedTrial], wanted: str) -> tuple[int, PlannedTrial]:
    from gramtune.errors import Issue, SpecError, did_you_mean

    for number, trial in enumerate(trials):
        if wanted in (str(number), trial.name):
            return number, trial
    near = did_you_mean(wanted, [trial.name for trial in trials])
    raise SpecError([Issue("--trial", f"{wanted!r} does not exist; numbers 0 to {len(trials) - 1}, or a name{near}")])
