"""Sweeps as Python functions, for scripts and notebooks; `gramtune sweep` and `gramtune resume` call them too.

from gramtune import load_sweep, run_sweep

result = run_sweep(load_sweep("critic_dim", replicates=5))
result.best, result.verdicts, result.plot()
result.frame  # tidy: one row per trial, replicate, step and metric
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gramtune.analysis.replicates_needed import replicates_needed
from gramtune.analysis.trial_table import trial_table
from gramtune.errors import Issue, SpecError, count
from gramtune.io import DiskFull, command, data_root, each, ensure_home, local_runs
from gramtune.notebook import NotebookView, in_notebook
from gramtune.record import budget
from gramtune.record.journal import load_state
from gramtune.record.object_store import RunStore, store_of
from gramtune.record.redaction import redact
from gramtune.record.report import Status
from gramtune.record.state import SweepState
from gramtune.record.tables import SWEEP_FILE, read_versions, write_sweep, write_tables
from gramtune.record.tracker import TrackerThread
from gramtune.record.versions import changed_since, versions
from gramtune.result import Best, Result
from gramtune.run.capacity import Capacity, grant, here
from gramtune.run.driver import Driver, NothingNew, Proposer
from gramtune.run.importable import check_importable
from gramtune.run.in_process import InProcessRunner, Runner
from gramtune.run.interruption import listening
from gramtune.run.lock import driving
from gramtune.run.object_store_run import (
    MirroredTracker,
    check_mirrored,
    fetch_trials,
    fetched,
    local_sweep,
    store_first,
    store_tables,
)
from gramtune.run.resume_policy import changes, left_as_they_are, refusals
from gramtune.run.run_directory import Ask, agreed, existing_plan, recorded_state, refuse, start_folder
from gramtune.space.domain import size_of
from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import Plan, make_plan
from gramtune.space.resources import AUTO
from gramtune.space.sweep import Sweep

if TYPE_CHECKING:
    from gramtune.analysis.importance import Importances
    from gramtune.backends.mlflow.tracker import MlflowTracker

__all__ = ["Best", "Result", "open_run", "resume_sweep", "run_sweep"]
_log = logging.getLogger(__name__)
Say = Callable[[str], None]
Watch = Callable[[SweepState], AbstractContextManager[None]]


def open_run(folder: Path | str) -> Result:
    """The result of a finished, interrupted or running sweep, from its folder or object store.

    Raises SpecError if `folder` holds no sweep.
    """
    folder = local_sweep(folder)
    state = recorded_state(folder)
    return Result(folder, state, not state.unfinished and len(state.records) >= state.plan.size)


def careful(say: Say) -> Say:
    """`say` without its errors: a line that cannot be printed must not end a sweep."""

    def said(line: str) -> None:
        try:
            say(line)
        except UnicodeEncodeError:
            say(line.encode("ascii", "replace").decode())
        except (OSError, ValueError):  # a closed terminal, a full disk, a closed file
            return

    return said


@dataclass(frozen=True)
class _How:
    """The runner, tracker, message function and live view of a run."""

    runner: Runner
    tracker: MlflowTracker
    store: RunStore
    say: Say
    watch: Watch


def run_sweep(
    sweep: Plan | Sweep | Path | str,
    runs: Path | str = "runs",
    *,
    debug: bool = False,
    address: str | None = None,
    max_concurrent: int | None = None,
    tracking_uri: str | None = None,
    register: str | None = None,
    ask: Ask = lambda question: False,
    say: Say | None = None,
    watch: Watch | None = None,
) -> Result:
    """Runs a sweep in the folder `runs`/<name>. Raises SpecError for bad input.

    If the folder already holds this sweep, `ask` decides whether it is resumed. A finished sweep is also extended
    without asking if this one differs only by more replicates, more samples or another budget. Any other difference
    raises SpecError with the way to proceed.

    `debug`: run in this process, without Ray; an exception of a trial ends the sweep and is raised once everything is
    stored. `address`: a running Ray cluster; by default Ray starts on this machine.
    `register`: the name of the best generator in the model registry. `say` receives lines for the user. `watch` is a
    context manager around the run; it receives the live state. By default lines are printed; a notebook updates one
    output instead.
    """
    ensure_home()
    say, watch = _shown(say, watch)
    say = careful(say)
    plan = sweep if isinstance(sweep, Plan) else _planned(sweep)
    if not debug:
        check_importable(plan.sweep)
    folder = fetched(local_runs(runs) / plan.sweep.name)
    store = store_of(folder)
    check_mirrored(plan.sweep, store)
    tracker = make_tracker(folder, tracking_uri, register)
    with open_capacity(address, folder.parent, say, debug) as capacity:
        plan = resolve_gpu(plan, folder, capacity, address, say)
        grant(plan.sweep.resources, capacity)
        how = _How(_runner(debug, max_concurrent, capacity, say), tracker, store, say, watch)
        with driving(folder):
            if (folder / SWEEP_FILE).exists():
                return _go_on(agreed(folder, plan.sweep, ask), plan, folder, how)
            start_folder(plan, folder, say)
            return _run(load_state(folder, plan), folder, how)


def resume_sweep(
    folder: Path | str,
    *,
    replicates: int | None = None,
    until: str | None = None,
    max_replicates: int | None = None,
    samples: int | None = None,
    time_budget: float | None = None,
    settings: Sequence[str] = (),
    add: Sequence[str] = (),
    retry_failed: bool = False,
    debug: bool = False,
    address: str | None = None,
    max_concurrent: int | None = None,
    tracking_uri: str | None = None,
    register: str | None = None,
    say: Say | None = None,
    watch: Watch | None = None,
) -> Result:
    """Resumes a sweep: keeps finished trials and continues the others from their newest checkpoints.

    `replicates` (finished sweeps only: missing replicates are added), `samples` and `time_budget` (seconds of all runs
    together) replace the sweep's own. `until="decided"`: open values get more replicates, up to `max_replicates`.
    `settings`: `training.steps=N` trains longer. `add`: `key=[values]` adds values to a grid. `retry_failed`: failed
    trials continue from their last checkpoints. Raises SpecError if `folder` holds no sweep, or if one of these changes
    is not allowed. The other keywords are those of `run_sweep`.
    """
    ensure_home()
    say, watch = _shown(say, watch)
    say = careful(say)
    folder = local_sweep(folder)
    overrides = Overrides(
        replicates=replicates,
        until=until,
        max_replicates=max_replicates,
        samples=samples,
        time_budget=time_budget,
        set=tuple(settings),
        add=tuple(add),
    )
    plan = existing_plan(folder, overrides)
    tracker = make_tracker(folder, tracking_uri, register)
    with open_capacity(address, folder.parent, say, debug) as capacity, driving(folder):
        state = load_state(folder, existing_plan(folder))
        refuse(refusals(state, plan.sweep), folder)
        grant(plan.sweep.resources, capacity)
        how = _How(_runner(debug, max_concurrent, capacity, say), tracker, store_of(folder), say, watch)
        return _go_on(state, plan, folder, how, retry_failed)


@contextmanager
def open_capacity(address: str | None, runs: Path, say: Say, debug: bool = False) -> Iterator[Capacity]:
    """The resources for a sweep: this machine's, or those of the Ray cluster at `address`; connected within the block.

    Raises SpecError if the connection fails, or if `runs` is not a folder shared by all nodes.
    """
    if address is None:
        yield here()
        return
    if debug:
        raise SpecError([Issue("--debug", "runs in this process; leave out --address")])
    from gramtune.backends.ray.session import connect_ray

    with connect_ray(address, runs, say) as capacity:
        yield capacity


def resolve_gpu(plan: Plan, folder: Path, capacity: Capacity, address: str | None, say: Say) -> Plan:
    """The plan with a number in place of `gpu: auto`: the one recorded in `folder` if it exists, else a measured one.

    Raises SpecError if there is no GPU to measure on, or if a trial fails.
    """
    if plan.sweep.resources.gpu != AUTO:
        return plan
    if (folder / SWEEP_FILE).exists():
        resources = existing_plan(folder).sweep.resources
        return replace(plan, sweep=plan.sweep.model_copy(update={"resources": resources}))
    from gramtune.run.cost_estimate import measure
    from gramtune.run.gpu_auto import settled

    if address is None:
        return settled(plan, capacity, data_root(), measure, say)
    from gramtune.backends.ray.session import measure_there

    return settled(plan, capacity, data_root(), measure_there, say)


def make_tracker(folder: Path, uri: str | None, register: str | None) -> MlflowTracker:
    """A tracker for the sweep in `folder`, for the store `uri` or, by default, the embedded store beside the folder.

    Does not connect yet. Raises SpecError for an unsupported URI or an illegal model name.
    """
    from gramtune.backends.mlflow.store import default_uri
    from gramtune.backends.mlflow.tracker import MlflowTracker

    return MlflowTracker(uri or default_uri(folder.parent), folder, register)


def _shown(say: Say | None, watch: Watch | None) -> tuple[Say, Watch]:
    """Fills in the defaults of `say` and `watch`: one updated output in a notebook, printed lines elsewhere."""
    if say and watch:
        return say, watch
    if in_notebook():
        view = NotebookView()
        return say or view.say, watch or view.watching
    return say or print, watch or (lambda state: nullcontext())


def _planned(sweep: Sweep | Path | str) -> Plan:
    return make_plan(sweep if isinstance(sweep, Sweep) else load_sweep(sweep), data_root())


def _go_on(state: SweepState, plan: Plan, folder: Path, how: _How, retry_failed: bool = False) -> Result:
    """Runs the unfinished trials of the sweep in `state`, and those that `plan` adds."""
    then = read_versions(folder)
    changed = changed_since(then, versions(plan)) if then else []
    if changed:
        how.say(
            f"warning: changed since this sweep began, so new numbers may differ from old ones: {'; '.join(changed)}"
        )
    if note := left_as_they_are(state, plan.sweep, retry_failed):
        how.say(note)
    if changes(state.plan.sweep, plan.sweep):
        write_sweep(plan.sweep, folder)
        state = load_state(folder, plan)
    if retry_failed:
        how.say(f"{count(state.retry_failed(), 'failed trial')}: continued from the last checkpoint")
    return _run(state, folder, how, changed)


def _run(state: SweepState, folder: Path, how: _How, changed: Sequence[str] = ()) -> Result:
    plan, say = state.plan, how.say
    _log.info("data root %s; folder %s; runner %s", data_root(), folder, type(how.runner).__name__)
    _log.info("MLflow store %s", how.tracker.link)
    for warning in plan.warnings:
        say(f"warning: {warning}")
    where = redact(how.store.uri) if how.store.runs else folder
    say(f"{plan.sweep.name}: {count(plan.size, 'trial')} × {plan.sweep.replicates_text} → {where}")
    store_first(how.store)
    thread = TrackerThread(MirroredTracker(how.tracker, how.store), state, say)
    with listening(say) as interruption:
        with how.watch(state):
            proposer = _proposer(state, folder)
            driver = Driver(state, folder, proposer, changed, interruption, replicates_needed, how.store)
            with suppress(KeyboardInterrupt):  # a second Ctrl-C while the runner ends
                how.runner.run(driver)
        fetch_trials(driver)
        _end(driver, thread, how)
    if driver.raised:
        say(f"{type(driver.raised).__name__} ends the sweep; resume with: {command('resume', where)}")
        raise driver.raised
    complete = driver.exhausted and not state.unfinished
    missing, whole = _shortfall(state) if complete else ("", True)
    if missing:
        say(missing)
    if not whole:
        return Result(folder, state, False, missing)
    if driver.halted:
        say(f"{driver.halted}; fix that, then resume with: {command('resume', where)}")
    elif not complete:
        left = count(len(state.unfinished), "trial")
        say(f"interrupted with {left} unfinished; resume with: {command('resume', where)}")
    return Result(folder, state, complete, driver.halted)


_HURRY = 4.0
"""Seconds that the tracker may take after SIGTERM or SIGHUP."""


def _end(driver: Driver, thread: TrackerThread, how: _How) -> None:
    """Writes tables and finishes the tracker first; then summary and report, which may fail or be interrupted.

    A failure of one part does not stop the others; a full disk halts the driver.
    """
    from gramtune.report.text.summary import summary_text

    state, folder, say, interruption = driver.state, driver.folder, how.say, driver.interruption
    with _halting(driver):
        write_tables(state, folder, trial_table(state))
    store_tables(driver)
    settled = False
    with suppress(KeyboardInterrupt):  # closing the tracker reports it
        settled = thread.settle(at_most=_HURRY if interruption.hurried else math.inf)
    with each("the summary", say):
        say("\n" + summary_text(state))
    if interruption.hurried:
        if not settled:
            thread.leave("no time to store everything")
        say(f"{folder}/: results.parquet, results.csv; figures and page: {command('report', folder)}")
        return
    try:
        with _halting(driver), each("the report", say):
            say(rewrite(state, folder))
    except KeyboardInterrupt:
        say(f"figures and page are not written; write them with: {command('report', folder)}")
    store_tables(driver)
    if thread.close(folder):
        say(f"MLflow: {how.tracker.link}{how.tracker.hint}")


@contextmanager
def _halting(driver: Driver) -> Iterator[None]:
    """Halts the driver if the sweep's folder cannot be written."""
    try:
        yield
    except DiskFull as error:
        driver.halt(str(error))
    except OSError as error:
        driver.halt(f"{driver.folder} cannot be written: {error.strerror or error}")


def _shortfall(state: SweepState) -> tuple[str, bool]:
    """Why a complete sweep has fewer trials than requested (one line or empty), and whether this is all it can have."""
    sweep, have = state.plan.sweep, len(state.records)
    stopped = any(record.status == Status.STOPPED for record in state.records.values())
    spent = budget.reached(sweep.budget, state.elapsed, state.steps_taken)
    if sweep.search.name == "grid" or have >= sweep.search.samples or stopped or spent or sweep.budget.seconds:
        return "", True
    size = size_of(sweep.space, sweep.base, sweep.search.samples)
    if size is not None and have >= size:
        return (
            f"note: the space has only {size} configurations, and all were tried; samples = {sweep.search.samples}",
            True,
        )
    return f"error: the search found no further configuration after {have} of {sweep.search.samples} trials", False


def rewrite(state: SweepState, folder: Path, refresh: int | None = None) -> str:
    """Rewrites tables, figures, summary and page; returns a line that lists the files, and one line per failure.

    `refresh`: seconds after which a browser reloads the page, for a running sweep. Raises OSError if the folder cannot
    be written.
    """
    from gramtune.report.write import write_report

    return write_report(state, folder, _importances, refresh)


def _importances(state: SweepState) -> Importances:
    from gramtune.analysis.importance import Importances, unknown

    if why := unknown(state):
        return Importances(why=why)
    from gramtune.backends.optuna.importance import importances  # imported here: it takes longer than the figures

    return importances(state)


def _proposer(state: SweepState, folder: Path) -> Proposer:
    if state.plan.sweep.search.name == "grid":
        return NothingNew()
    from gramtune.backends.optuna.search import OptunaProposer

    return OptunaProposer(state, folder)


def _runner(debug: bool, max_concurrent: int | None, capacity: Capacity, say: Say) -> Runner:
    if debug:
        if max_concurrent not in (None, 1):
            say("warning: --max-concurrent has no effect with --debug, which trains one trial at a time")
        return InProcessRunner(say, debug=True)
    from gramtune.backends.ray.runner import RayRunner

    return RayRunner(say, max_concurrent, capacity)
