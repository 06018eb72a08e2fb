"""The sweep as a function: what `gramtune sweep` and `gramtune resume` do, for scripts and notebooks.

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
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gramtune.analysis.replicates_needed import replicates_needed
from gramtune.analysis.trial_table import trial_table
from gramtune.errors import Issue, SpecError, count
from gramtune.io import DiskFull, command, data_root, each, ensure_home, local_runs
from gramtune.notebook import NotebookView, in_notebook
from gramtune.record import budget
from gramtune.record.journal import load_state
from gramtune.record.object_store import Mirror, mirror_of
from gramtune.record.redaction import redact
from gramtune.record.report import Status
from gramtune.record.state import SweepState
from gramtune.record.tables import SWEEP_FILE, read_versions, write_sweep, write_tables
from gramtune.record.tracker import TrackerThread
from gramtune.record.versions import changed_since, versions
from gramtune.result import Best, Result
from gramtune.run.capacity import Capacity, grant, here
from gramtune.run.driver import Driver, NothingNew, Proposer
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
from gramtune.space.sweep import AUTO, Sweep

if TYPE_CHECKING:
    from gramtune.analysis.importance import Importances
    from gramtune.backends.mlflow.tracker import MlflowTracker

__all__ = ["Best", "Result", "open_run", "resume_sweep", "run_sweep"]
_log = logging.getLogger(__name__)
Say = Callable[[str], None]
Watch = Callable[[SweepState], AbstractContextManager[None]]


def open_run(folder: Path | str) -> Result:
    """The result of a sweep that has been run before, from its folder or object store; running or not.

    Raises SpecError if `folder` holds no sweep.
    """
    folder = local_sweep(folder)
    state = recorded_state(folder)
    return Result(folder, state, not state.unfinished and len(state.records) >= state.plan.size)


def careful(say: Say) -> Say:
    """`say` for lines that nobody may be able to read any more: what it cannot print is no reason to end a sweep."""

    def said(line: str) -> None:
        try:
            say(line)
        except UnicodeEncodeError:
            say(line.encode("ascii", "replace").decode())
        except (OSError, ValueError):  # a closed terminal, a full disk, a closed file
            return

    return said


class _How(NamedTuple):
    """With what, and before whom, a sweep runs."""

    runner: Runner
    tracker: MlflowTracker
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

    One that is there already goes on if `ask` says so, or if this one is it with more replicates or samples or another
    budget, and it is finished; otherwise SpecError tells how. `debug`: in this process, without Ray. `address`: on the
    running Ray there, else on one of this machine. `register`: name of the best generator in the model registry. `say`
    gets lines for the user; `watch` wraps the run, with its live state. By default lines are printed; in a notebook one
    output is updated instead.
    """
    ensure_home()
    say, watch = _shown(say, watch)
    say = careful(say)
    plan = sweep if isinstance(sweep, Plan) else _planned(sweep)
    folder = fetched(local_runs(runs) / plan.sweep.name)
    check_mirrored(plan.sweep, folder)
    tracker = make_tracker(folder, tracking_uri, register)
    with open_capacity(address, folder.parent, say, debug) as capacity:
        plan = resolve_gpu(plan, folder, capacity, address, say)
        grant(plan.sweep.resources, capacity)
        how = _How(_runner(debug, max_concurrent, capacity, say), tracker, say, watch)
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
    """Goes on with a sweep: finished trials are kept, others continue from their newest checkpoint.

    `replicates` (of a finished sweep; those that it lacks are added), `samples` and `time_budget` (seconds, of all
    runs together) take the place of its own. `until="decided"`: open values are given more replicates, up to
    `max_replicates`. `settings`: `training.steps=N` trains longer. `add`: `key=[values]`,
    further values of a grid. `retry_failed`: failed trials continue from their last checkpoints. Raises SpecError if
    `folder` holds no sweep, or if one of these changes is not allowed. The other keywords are those of `run_sweep`.
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
        how = _How(_runner(debug, max_concurrent, capacity, say), tracker, say, watch)
        return _go_on(state, plan, folder, how, retry_failed)


@contextmanager
def open_capacity(address: str | None, runs: Path, say: Say, debug: bool = False) -> Iterator[Capacity]:
    """What a sweep can use: this machine, or the running Ray at `address`, joined until the block ends.

    Raises SpecError if that cannot be joined, or if `runs` is not one folder for all its nodes.
    """
    if address is None:
        yield here()
        return
    if debug:
        raise SpecError([Issue("--debug", "runs in this process alone: leave out --address")])
    from gramtune.backends.ray.session import connect_ray

    with connect_ray(address, runs, say) as capacity:
        yield capacity


def resolve_gpu(plan: Plan, folder: Path, capacity: Capacity, address: str | None, say: Say) -> Plan:
    """The plan with a number for `gpu: auto`: that of the sweep in `folder` if there is one, else measured.

    Raises SpecError where there is nothing to measure on, or a trial fails.
    """
    if plan.sweep.resources.gpu != AUTO:
        return plan
    if (folder / SWEEP_FILE).exists():
        resources = existing_plan(folder).sweep.resources
        return plan._replace(sweep=plan.sweep.model_copy(update={"resources": resources}))
    from gramtune.run.cost_estimate import measure
    from gramtune.run.gpu_auto import settled

    if address is None:
        return settled(plan, capacity, data_root(), measure, say)
    from gramtune.backends.ray.session import measure_there

    return settled(plan, capacity, data_root(), measure_there, say)


def make_tracker(folder: Path, uri: str | None, register: str | None) -> MlflowTracker:
    """A tracker for the sweep in `folder`, on the store asked for, else on the embedded one beside the folder.

    Nothing is touched yet. Raises SpecError for a URI that cannot hold a sweep, or an illegal model name.
    """
    from gramtune.backends.mlflow.store import default_uri
    from gramtune.backends.mlflow.tracker import MlflowTracker

    return MlflowTracker(uri or default_uri(folder.parent), folder, register)


def _shown(say: Say | None, watch: Watch | None) -> tuple[Say, Watch]:
    """What is asked for, else what fits the place: one updated output in a notebook, printed lines elsewhere."""
    if say and watch:
        return say, watch
    if in_notebook():
        view = NotebookView()
        return say or view.say, watch or view.watching
    return say or print, watch or (lambda state: nullcontext())


def _planned(sweep: Sweep | Path | str) -> Plan:
    return make_plan(sweep if isinstance(sweep, Sweep) else load_sweep(sweep), data_root())


def _go_on(state: SweepState, plan: Plan, folder: Path, how: _How, retry_failed: bool = False) -> Result:
    """Runs what is left of the sweep in `state`, or what `plan` adds to it."""
    then = read_versions(folder)
    changed = changed_since(then, versions(plan)) if then else []
    if changed:
        how.say(f"warning: not as when this sweep began, new numbers may differ from old ones: {'; '.join(changed)}")
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
    mirror = mirror_of(folder)
    where = redact(mirror.uri) if mirror else folder
    say(f"{plan.sweep.name}: {count(plan.size, 'trial')} × {plan.sweep.replicates_text} → {where}")
    if mirror:
        store_first(mirror)
    thread = TrackerThread(MirroredTracker(how.tracker, mirror) if mirror else how.tracker, state, say)
    with listening(say) as interruption:
        with how.watch(state):
            driver = Driver(state, folder, _proposer(state, folder), changed, interruption, replicates_needed)
            with suppress(KeyboardInterrupt):  # Ctrl-C again, while the runner was ending
                how.runner.run(driver)
        if mirror:
            fetch_trials(mirror, driver)
        _end(driver, thread, how, mirror)
    complete = driver.exhausted and not state.unfinished
    missing, whole = _shortfall(state) if complete else ("", True)
    if missing:
        say(missing)
    if not whole:
        return Result(folder, state, False, missing)
    if driver.halted:
        say(f"{driver.halted}; mend that, then go on with: {command('resume', where)}")
    elif not complete:
        left = count(len(state.unfinished), "trial")
        say(f"interrupted with {left} unfinished; go on with: {command('resume', where)}")
    return Result(folder, state, complete, driver.halted)


_HURRY = 4.0
"""Seconds that the tracker has after SIGTERM or SIGHUP."""


def _end(driver: Driver, thread: TrackerThread, how: _How, mirror: Mirror | None) -> None:
    """Tables and tracker first; then what may fail or be interrupted, each on its own. Halts where the disk is full."""
    from gramtune.report.text.summary import summary_text

    state, folder, say, interruption = driver.state, driver.folder, how.say, driver.interruption
    with _halting(driver):
        write_tables(state, folder, trial_table(state))
    if mirror:
        store_tables(mirror, driver)
    settled = False
    with suppress(KeyboardInterrupt):  # closing it says so
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
        say(f"figures and page are left out: {command('report', folder)}")
    if mirror:
        store_tables(mirror, driver)
    if thread.close(folder):
        say(f"MLflow: {how.tracker.link}{how.tracker.hint}")


@contextmanager
def _halting(driver: Driver) -> Iterator[None]:
    """Halts the driver where the sweep's folder cannot be written."""
    try:
        yield
    except DiskFull as error:
        driver.halt(str(error))
    except OSError as error:
        driver.halt(f"{driver.folder} cannot be written: {error.strerror or error}")


def _shortfall(state: SweepState) -> tuple[str, bool]:
    """Why a complete sweep has fewer trials than it asked for, in a line, and whether that is all that it can have."""
    sweep, have = state.plan.sweep, len(state.records)
    stopped = any(record.status == Status.STOPPED for record in state.records.values())
    spent = budget.reached(sweep.budget, state.elapsed, state.taken)
    if sweep.search.name == "grid" or have >= sweep.search.samples or stopped or spent or sweep.budget.seconds:
        return "", True
    size = size_of(sweep.space, sweep.base, sweep.search.samples)
    if size is not None and have >= size:
        return f"note: the space holds {size} configurations, and all are tried; samples = {sweep.search.samples}", True
    return f"error: the search found no further configuration after {have} of {sweep.search.samples} trials", False


def rewrite(state: SweepState, folder: Path, refresh: int | None = None) -> str:
    """Writes tables, figures, summary and page anew; returns a line that says what is where, and one per failure.

    `refresh`: seconds after which a browser loads the page again, for a sweep that is running. Raises OSError where the
    folder cannot be written.
    """
    from gramtune.report.write import write_report

    return write_report(state, folder, _importances, refresh)


def _importances(state: SweepState) -> Importances:
    from gramtune.analysis.importance import Importances, unknown

    if why := unknown(state):
        return Importances(why=why)
    from gramtune.backends.optuna.importance import importances  # whose import takes longer than the figures

    return importances(state)


def _proposer(state: SweepState, folder: Path) -> Proposer:
    if state.plan.sweep.search.name == "grid":
        return NothingNew()
    from gramtune.backends.optuna.search import OptunaProposer

    return OptunaProposer(state, folder)


def _runner(debug: bool, max_concurrent: int | None, capacity: Capacity, say: Say) -> Runner:
    if debug:
        return InProcessRunner(say)
    from gramtune.backends.ray.runner import RayRunner

    return RayRunner(say, max_concurrent, capacity)
