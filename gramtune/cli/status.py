"""`gramtune status`: shows the progress of sweeps, from any terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gramtune.cli.options import RUNS, Runs, complete_run, local_sweep

if TYPE_CHECKING:
    from gramtune.record.state import SweepState


def status(
    run: Annotated[
        Path | None,
        typer.Argument(
            parser=local_sweep,
            metavar="RUN",
            help="Folder of one sweep [default: all sweeps in --runs].",
            autocompletion=complete_run,
        ),
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Show the progress of every sweep, or of each trial of one sweep."""
    if run is None:
        _show_all(runs)
    else:
        _show_one(run)


def _show_all(runs: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from gramtune.cli.text import spread
    from gramtune.errors import Issue, SpecError
    from gramtune.record.tables import SWEEP_FILE
    from gramtune.run.run_directory import recorded_state

    folders = sorted(path.parent for path in runs.glob(f"*/{SWEEP_FILE}"))
    if not folders:
        raise SpecError([Issue(str(runs), "holds no sweep; name the folder of sweeps with --runs")])
    table = Table(box=None, pad_edge=False)
    for heading in ("sweep", "state", "trials", "best", "metric"):
        table.add_column(heading, no_wrap=True)
    for folder in folders:
        try:
            state = recorded_state(folder)
        except SpecError as error:
            table.add_row(folder.name, "damaged", "", str(error.issues[0]), "")
            continue
        finished = len(state.records) - len(state.unfinished)
        best = spread(state.best.summary(state.plan.metric)) if state.best else "–"
        table.add_row(folder.name, _state(state, folder), f"{finished}/{state.plan.size}", best, state.plan.metric)
    console = Console()
    console.print(table) if console.is_terminal else Console(width=200).print(table)


def _state(state: SweepState, folder: Path) -> str:
    from gramtune.run.lock import driver_of

    if driver_of(folder):
        return "running"
    return "unfinished" if state.unfinished or len(state.records) < state.plan.size else "finished"


def _show_one(folder: Path) -> None:
    from rich.console import Console

    from gramtune.analysis.labels import assignment_text, status_counts
    from gramtune.cli.live import table
    from gramtune.cli.text import duration, spread
    from gramtune.run.lock import driver_of
    from gramtune.run.run_directory import recorded_state

    state, driver = recorded_state(folder), driver_of(folder)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table(state, max(1, len(state.records))))
    counts = ", ".join(f"{count} {status}" for status, count in status_counts(state).items())
    left = state.plan.size - len(state.records)
    waiting = f", {left} not proposed yet" if left > 0 else ""
    console.print(f"{state.plan.sweep.name}: {counts}{waiting}", markup=False, highlight=False)
    if best := state.best:
        value = spread(best.summary(state.plan.metric))
        values = assignment_text(best.assignment)
        console.print(f"best so far: trial {best.number} ({values}): {value}", markup=False, highlight=False)
    console.print(f"{duration(state.elapsed)} elapsed", markup=False, highlight=False)
    if driver:
        console.print(f"running: {driver}", markup=False, highlight=False)
    elif state.unfinished or left > 0:
        console.print(f"not running; resume it with: gramtune resume {folder}", markup=False, soft_wrap=True)
