"""Runs a planned sweep in its folder from start to report; `sweep` and `resume` share it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from gramtune.cli.live import watching
from gramtune.paths import DiskFull, data_root, write_atomically
from gramtune.report.figures import write_figures
from gramtune.report.tables import summary_lines
from gramtune.sweep.conductor import Conductor, NothingNew, Proposer
from gramtune.sweep.faults import Fault, SpecError
from gramtune.sweep.in_process import InProcessRunner, Runner
from gramtune.sweep.journal import load_state
from gramtune.sweep.plan import Plan, make_plan
from gramtune.sweep.results import write_tables
from gramtune.sweep.spec import load_sweep
from gramtune.sweep.state import Status, SweepState
from gramtune.sweep.tracker import TrackerThread


def existing_plan(folder: Path) -> Plan:
    """The plan of a sweep that has been started in `folder`. Raises SpecError if there is none."""
    if not (folder / "sweep.yaml").is_file():
        sweeps = sorted(path.parent.name for path in folder.parent.glob("*/sweep.yaml"))
        there = f"; {folder.parent} holds {', '.join(sweeps)}" if sweeps else ""
        raise SpecError([Fault(str(folder), f"holds no sweep (no sweep.yaml){there}")])
    return make_plan(load_sweep(folder / "sweep.yaml"), data_root(), folder / "sweep.yaml")


def tracking_store(folder: Path, uri: str | None) -> str:
    """The MLflow store: the one that was asked for, else the embedded one beside the sweep's folder."""
    from gramtune.backends.mlflow_store import default_uri

    return uri or default_uri(folder.parent)


def execute(plan: Plan, folder: Path, *, debug: bool, max_concurrent: int | None, tracking_uri: str | None) -> int:
    """Runs what is unfinished, then writes tables, figures and summary. Returns the exit code."""
    console = Console()

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    from gramtune.backends.mlflow_tracker import MlflowTracker

    for warning in plan.warnings:
        say(f"warning: {warning}")
    state = load_state(folder, plan)
    say(f"{plan.sweep.name}: {plan.size} trials × {plan.sweep.replicates} replicates → {folder}")
    tracker = MlflowTracker(tracking_store(folder, tracking_uri), folder)
    thread = TrackerThread(tracker, state, say)
    with watching(state, console):
        conductor = Conductor(state, folder, _proposer(state, folder))
        _runner(debug, max_concurrent, say).run(conductor)
    lines = summary_lines(state)
    say("\n" + "\n".join(lines) + "\n")
    try:
        _write_results(state, folder, lines)
        say(f"{folder}/: results.parquet, results.csv, figures/, summary.txt")
    except DiskFull as error:
        conductor.halt(str(error))
    if thread.close(folder):
        say(f"MLflow: {tracker.link}" + ("" if tracking_uri else "; open with: gramtune ui"))
    if conductor.halted:
        say(f"{conductor.halted}; make room, then go on with: gramtune resume {folder}")
        return 1
    if state.unfinished:
        say(f"interrupted with {len(state.unfinished)} trial(s) unfinished; go on with: gramtune resume {folder}")
        return 130
    return 1 if any(record.status == Status.FAILED for record in state.records.values()) else 0


def _write_results(state: SweepState, folder: Path, lines: list[str]) -> None:
    """Tables, figures and summary, from the state alone. Raises DiskFull."""
    write_tables(state, folder)
    write_figures(state, folder)
    write_atomically(folder / "summary.txt", lambda path: path.write_text("\n".join(lines) + "\n", encoding="utf-8"))


def _proposer(state: SweepState, folder: Path) -> Proposer:
    if state.plan.sweep.search.name == "grid":
        return NothingNew()
    from gramtune.backends.optuna_search import OptunaProposer

    return OptunaProposer(state, folder)


def _runner(debug: bool, max_concurrent: int | None, say: Callable[[str], None]) -> Runner:
    if debug:
        return InProcessRunner()
    from gramtune.backends.ray_runner import RayRunner

    return RayRunner(say, max_concurrent)
