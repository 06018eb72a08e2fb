"""`gramtune replay`: estimates what pruners would have saved and lost on a fully trained sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from gramtune.cli.options import Folder, MaxReplicates, Plugins

if TYPE_CHECKING:
    from gramtune.analysis.replay import Recording, Replay
    from gramtune.analysis.replicates_replay import ReplicatesReplay
    from gramtune.components import Pruner
    from gramtune.record.state import SweepState


def replay(
    folder: Folder,
    pruner: Annotated[
        str | None,
        typer.Option(help="As in a space file: median, '{name: asha, min_steps: 300}' [default: a comparison]."),
    ] = None,
    reduction_factor: Annotated[
        int | None, typer.Option(help="η: the best 1/η go on; rungs are η apart [default: 4].")
    ] = None,
    min_steps: Annotated[
        int | None, typer.Option(help="Steps before the first decision [default: one evaluation].")
    ] = None,
    min_trials: Annotated[
        int | None, typer.Option(help="Trials that must reach a rung before one can be pruned [default: η; median: 3].")
    ] = None,
    false_prune_rate: Annotated[
        float | None,
        typer.Option(help="Noise-aware: prune the truly best trial with at most this probability (docs/pruning.md)."),
    ] = None,
    until_decided: Annotated[
        bool,
        typer.Option("--replicates-until-decided", help="Replay replicates until decided instead of pruners."),
    ] = False,
    max_replicates: MaxReplicates = None,
    orders: Annotated[int, typer.Option(min=1, help="Number of random orders of trials, or of seeds.")] = 200,
    workers: Annotated[int, typer.Option(min=1, help="Trials that run at once.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the random orders.")] = 0,
    plugins: Plugins = None,
) -> None:
    """Replay pruners, or replicates until decided, on a finished sweep; print savings and losses. Trains nothing."""
    from gramtune.analysis.replay import panel, recording
    from gramtune.analysis.replay import replay as replayed
    from gramtune.record.journal import load_state
    from gramtune.run.run_directory import existing_plan
    from gramtune.space.load import load_plugins

    if until_decided:
        for line in _replicates(load_state(folder, existing_plan(folder)), str(folder), max_replicates, orders, seed):
            typer.echo(line)
        return
    load_plugins(plugins or ())
    settings = {
        "min_steps": min_steps,
        "reduction_factor": reduction_factor,
        "min_trials": min_trials,
        "false_prune_rate": false_prune_rate,
    }
    pruners = (_pruner(pruner, settings),) if pruner else panel(settings)
    recorded = recording(load_state(folder, existing_plan(folder)), str(folder), min_steps)
    for line in _header(recorded, orders, workers):
        typer.echo(line)
    typer.echo(_row("pruner", "steps saved", "time saved", "best lost", "95 % interval", "regret"))
    for each in pruners:
        typer.echo(_cells(replayed(recorded, each, orders, workers, seed)))


def _pruner(text: str, settings: Mapping[str, float | None]) -> Pruner:
    """The pruner of `--pruner`, YAML as in a space file, and of the other options. Raises SpecError."""
    from gramtune.analysis.replay import checked_pruner
    from gramtune.errors import Issue, SpecError
    from gramtune.space.yaml_reader import parse_value

    try:
        written = parse_value(text)
    except ValueError as error:
        raise SpecError([Issue("--pruner", str(error))]) from None
    return checked_pruner(written, settings)


def _replicates(state: SweepState, where: str, most: int | None, orders: int, seed: int) -> list[str]:
    from gramtune.analysis.replicates_replay import replay_replicates

    results = replay_replicates(state, where, most, orders, seed)
    return [
        f"{orders} random orders of seeds; tolerance {100 * state.plan.sweep.tolerance:g} %",
        "",
        _row("verdict on", "whole", "as the whole", "95 % interval", "replicates"),
        *(_replicate_cells(result) for result in results),
    ]


def _replicate_cells(result: ReplicatesReplay) -> str:
    row, (low, high) = result.verdict, result.interval
    assert row.finding is not None
    name = f"{row.key} ({row.method})" if row.method else row.key
    same = f"{result.same} of {result.orders}"
    return _row(name, row.finding.verdict, same, f"{low:.1%} to {high:.1%}", f"{result.share:.1%}")


def _header(recorded: Recording, orders: int, workers: int) -> list[str]:
    from gramtune.errors import count

    trials = f"{count(len(recorded.trials), 'trial')} of {count(recorded.steps, 'step')}"
    scale = f"{trials}, {count(orders, 'random order')}, {workers} at once"
    return [
        f"{scale}; {recorded.metric} ({recorded.direction}imised), best: {recorded.best}",
        *([f"left out: {'; '.join(recorded.left_out)}"] if recorded.left_out else []),
        "",
    ]


def _cells(result: Replay) -> str:
    from gramtune.analysis.labels import percent

    low, high = result.interval
    lost = f"{result.best_lost} of {result.orders}"
    regret = f"{result.regret:.4g} ± {result.regret_std:.2g}"
    shares = percent(result.steps_saved, 1), percent(result.time_saved, 1)
    return _row(_label(result.pruner), *shares, lost, f"{100 * low:.1f} to {percent(high, 1)}", regret)


def _label(pruner: Pruner) -> str:
    """The pruner in one line: `asha η=4, noise-aware 0.05`."""
    factor = f" η={eta}" if (eta := getattr(pruner, "reduction_factor", None)) else ""
    aware = "" if pruner.false_prune_rate is None else f", noise-aware {pruner.false_prune_rate:g}"
    return f"{pruner.name}{factor}{', promoting' if pruner.pauses else ''}{aware}"


def _row(*cells: str) -> str:
    first, *others = cells
    return f"{first:<28}" + "".join(f"{cell:>17}" for cell in others)
