"""The sweep as a function: what `gramtune sweep` and `gramtune resume` do, for scripts and notebooks.

from gramtune import load_sweep, run_sweep

result = run_sweep(load_sweep("search_spaces/critic_dim.yaml"))
result.frame  # tidy: one row per trial, replicate, step and metric
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from gramtune.paths import DiskFull, data_root
from gramtune.sweep.capacity import Capacity, grant, here
from gramtune.sweep.conductor import Conductor, NothingNew, Proposer
from gramtune.sweep.faults import Fault, SpecError
from gramtune.sweep.in_process import InProcessRunner, Runner
from gramtune.sweep.journal import load_state
from gramtune.sweep.load import load_sweep
from gramtune.sweep.plan import Plan, make_plan, recorded_plan
from gramtune.sweep.results import SWEEP_FILE, results_frame, trials_frame, write_sweep, write_versions
from gramtune.sweep.spec import Sweep
from gramtune.sweep.state import SweepState
from gramtune.sweep.tracker import TrackerThread

if TYPE_CHECKING:
    from gramtune.backends.mlflow_tracker import MlflowTracker

Say = Callable[[str], None]
Watch = Callable[[SweepState], AbstractContextManager[None]]


class Result(NamedTuple):
    """What came of a sweep."""

    folder: Path
    state: SweepState
    complete: bool
    """Whether every trial has come to its end; otherwise `resume_sweep` goes on."""
    problem: str
    """Why the sweep had to stop where it is, such as a full disk; empty otherwise."""

    @property
    def frame(self) -> pd.DataFrame:
        """Tidy: one row per trial, replicate, step and metric."""
        return results_frame(self.state)

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial, with its status and the final mean and spread of the primary metric."""
        return trials_frame(self.state)


def run_sweep(
    sweep: Plan | Sweep | Path | str,
    runs: Path | str = "runs",
    *,
    debug: bool = False,
    address: str | None = None,
    max_concurrent: int | None = None,
    tracking_uri: str | None = None,
    register: str | None = None,
    say: Say = print,
    watch: Watch = lambda state: nullcontext(),
) -> Result:
    """Runs a sweep in a new folder `runs`/<name>. Raises SpecError for bad input, or if the folder is there already.

    `debug`: in this process, without Ray. `address`: on the running Ray there, else on one of this machine.
    `register`: name of the best generator in the model registry. `say` gets lines for the user; `watch` wraps the run,
    with its live state.
    """
    plan = sweep if isinstance(sweep, Plan) else _planned(sweep)
    folder = Path(runs) / plan.sweep.name
    tracker = make_tracker(folder, tracking_uri, register)
    with place(address, Path(runs), debug) as capacity:
        grant(plan.sweep.resources, capacity)
        _start_folder(plan, folder)
        return _run(plan, folder, _runner(debug, max_concurrent, capacity, say), tracker, say, watch)


def resume_sweep(
    folder: Path | str,
    *,
    debug: bool = False,
    address: str | None = None,
    max_concurrent: int | None = None,
    tracking_uri: str | None = None,
    register: str | None = None,
    say: Say = print,
    watch: Watch = lambda state: nullcontext(),
) -> Result:
    """Goes on with a sweep: finished trials are kept, others continue from their newest checkpoint.

    Raises SpecError if `folder` holds none. The keywords are those of `run_sweep`.
    """
    plan = existing_plan(Path(folder))
    tracker = make_tracker(Path(folder), tracking_uri, register)
    with place(address, Path(folder).parent, debug) as capacity:
        grant(plan.sweep.resources, capacity)
        return _run(plan, Path(folder), _runner(debug, max_concurrent, capacity, say), tracker, say, watch)


@contextmanager
def place(address: str | None, runs: Path, debug: bool = False) -> Iterator[Capacity]:
    """What a sweep can use: this machine, or the running Ray at `address`, joined until the block ends.

    Raises SpecError if that cannot be joined, or if `runs` is not one folder for all its nodes.
    """
    if address is None:
        yield here()
        return
    if debug:
        raise SpecError([Fault("--debug", "runs in this process alone: leave out --address")])
    from gramtune.backends.ray_session import joined

    with joined(address, runs) as capacity:
        yield capacity


def existing_plan(folder: Path) -> Plan:
    """The plan of a sweep that has been started in `folder`. Raises SpecError if there is none."""
    return make_plan(_existing(folder), data_root(), folder / SWEEP_FILE)


def recorded_state(folder: Path) -> SweepState:
    """What the journal of a sweep in `folder` tells, running or not; its data need not be on this machine.

    Raises SpecError if there is none.
    """
    return load_state(folder, recorded_plan(_existing(folder)))


def _existing(folder: Path) -> Sweep:
    if not (folder / SWEEP_FILE).is_file():
        sweeps = sorted(path.parent.name for path in folder.parent.glob(f"*/{SWEEP_FILE}"))
        there = f"; {folder.parent} holds {', '.join(sweeps)}" if sweeps else ""
        raise SpecError([Fault(str(folder), f"holds no sweep (no {SWEEP_FILE}){there}")])
    return load_sweep(folder / SWEEP_FILE)


def make_tracker(folder: Path, uri: str | None, register: str | None) -> MlflowTracker:
    """A tracker for the sweep in `folder`, on the store asked for, else on the embedded one beside the folder.

    Nothing is touched yet. Raises SpecError for a URI that cannot hold a sweep, or an illegal model name.
    """
    from gramtune.backends.mlflow_store import default_uri
    from gramtune.backends.mlflow_tracker import MlflowTracker

    return MlflowTracker(uri or default_uri(folder.parent), folder, register)


def _planned(sweep: Sweep | Path | str) -> Plan:
    if isinstance(sweep, Sweep):
        return make_plan(sweep, data_root(), Path(sweep.name))
    return make_plan(load_sweep(sweep), data_root(), Path(sweep))


def _start_folder(plan: Plan, folder: Path) -> None:
    if folder.exists():
        ways = f"go on with: gramtune resume {folder}; or choose another --name"
        raise SpecError([Fault(str(folder), f"this sweep is there already; {ways}")])
    try:
        folder.mkdir(parents=True)
        write_sweep(plan.sweep, folder)
        write_versions(plan, folder)
    except OSError as error:
        raise SpecError([Fault("--runs", f"{folder} cannot be written: {error.strerror or error}")]) from None


def _run(
    plan: Plan,
    folder: Path,
    runner: Runner,
    tracker: MlflowTracker,
    say: Say,
    watch: Watch,
) -> Result:
    for warning in plan.warnings:
        say(f"warning: {warning}")
    state = load_state(folder, plan)
    say(f"{plan.sweep.name}: {plan.size} trials × {plan.sweep.replicates} replicates → {folder}")
    thread = TrackerThread(tracker, state, say)
    with watch(state):
        conductor = Conductor(state, folder, _proposer(state, folder))
        runner.run(conductor)
    _report(conductor, say)
    if thread.close(folder):
        say(f"MLflow: {tracker.link}{tracker.hint}")
    complete = conductor.exhausted and not state.unfinished
    if conductor.halted:
        say(f"{conductor.halted}; make room, then go on with: gramtune resume {folder}")
    elif not complete:
        say(f"interrupted with {len(state.unfinished)} trial(s) unfinished; go on with: gramtune resume {folder}")
    return Result(folder, state, complete, conductor.halted)


def _report(conductor: Conductor, say: Say) -> None:
    """Summary, tables and figures, from the state alone; halts the conductor where the disk is full."""
    from gramtune.report.tables import summary_text
    from gramtune.report.write import write_report

    say("\n" + summary_text(conductor.state))
    try:
        say(write_report(conductor.state, conductor.folder))
    except DiskFull as error:
        conductor.halt(str(error))


def _proposer(state: SweepState, folder: Path) -> Proposer:
    if state.plan.sweep.search.name == "grid":
        return NothingNew()
    from gramtune.backends.optuna_search import OptunaProposer

    return OptunaProposer(state, folder)


def _runner(debug: bool, max_concurrent: int | None, capacity: Capacity, say: Say) -> Runner:
    if debug:
        return InProcessRunner()
    from gramtune.backends.ray_runner import RayRunner

    return RayRunner(say, max_concurrent, capacity)
