"""Stores a sweep in MLflow: one parent run, one nested run per trial, every value exactly once despite failures."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gramtune.analysis.key_verdicts import verdict_tags
from gramtune.backends.mlflow.model import checked_model_name
from gramtune.backends.mlflow.page import store_datasets, store_files, store_model, store_preview
from gramtune.backends.mlflow.run_contents import (
    best_points,
    description,
    identity_tags,
    report_points,
    run_name,
    started,
    trial_params,
    trial_tags,
    verdict_points,
)
from gramtune.backends.mlflow.runs import PARENT, Point, StoredRun, SweepRuns
from gramtune.backends.mlflow.store import Rejected, RunGone, checked_uri, default_uri, is_server, runs_url
from gramtune.backends.mlflow.view import IMAGES, store_view, view_key
from gramtune.errors import SpecError
from gramtune.io import command, write_atomically
from gramtune.record.layout import checkpoints, sample_grids, trial_folder
from gramtune.record.redaction import redact
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState, TrialRecord
from gramtune.record.tables import read_versions
from gramtune.record.tracker import TrackerUnavailable, no_pause
from gramtune.record.versions import versions
from gramtune.space.plan import Plan

SWEEP_RUN = ""
"""Key of the parent run."""
_MLFLOW_STATUS = {
    Status.COMPLETED: "FINISHED",
    Status.PRUNED: "FINISHED",
    Status.PAUSED: "FINISHED",
    Status.DIVERGED: "FINISHED",
    Status.STOPPED: "KILLED",
    Status.FAILED: "FAILED",
}


@dataclass(frozen=True)
class _Snapshot:
    """A copy of a trial record at one moment; the runner's thread keeps changing the record itself."""

    status: Status
    reason: str
    reports: Mapping[int, Report]

    @property
    def last(self) -> Report | None:
        return self.reports[max(self.reports)] if self.reports else None

    @property
    def points(self) -> list[Point]:
        return [point for report in self.reports.values() for point in report_points(report)]


class MlflowTracker:
    """Keeps an MLflow store up to date with a sweep. `register` names the best generator in the model registry.

    Raises SpecError for a URI that cannot hold a sweep, or a name that cannot be registered.

    Numbers are stored before files, so a store that refuses files still has every number. A run is closed last, so a
    closed run is complete and is not checked again.
    """

    def __init__(self, uri: str, folder: Path, register: str | None = None) -> None:
        self._uri = checked_uri(uri)
        self._register = checked_model_name(register) if register is not None else None
        self._folder, self._named = folder.absolute(), folder
        self._runs: SweepRuns | None = None
        self._stored: dict[str, _Snapshot] = {}
        self._configured: set[str] = set()
        self._link = redact(self._uri)

    @property
    def stored(self) -> int:
        """See `Tracker`."""
        return len(self._stored)

    @property
    def link(self) -> str:
        """The address of the sweep's trials on a server; for a database its URI without credentials."""
        return self._link

    @property
    def hint(self) -> str:
        """The command that opens a store without a web page; empty for a server."""
        if is_server(self._uri):
            return ""
        if self._uri == default_uri(self._folder.parent):
            runs = () if self._folder.parent == Path("runs").absolute() else ("--runs", self._named.parent)
            return f"; open with: {command('ui', *runs)}"
        return f"; open with: {command('ui', '--tracking-uri', redact(self._uri))}"

    @property
    def remedy(self) -> str:
        """The command `gramtune sync` for the same folder and store; the user must insert credentials of the URI."""
        embedded = self._uri == default_uri(self._folder.parent)
        return command("sync", self._named, *(() if embedded else ("--tracking-uri", redact(self._uri))))

    def sync(self, state: SweepState, rest: Callable[[], None] = no_pause) -> None:
        """See `Tracker`. Raises TrackerUnavailable."""
        self._reliably(lambda: self._sync(state, rest))

    def settle(self, state: SweepState) -> None:
        """Stores what is left, without the folder's files, and closes the runs. Raises TrackerUnavailable."""
        self._forget()  # the store may have executed a request after its answer was lost
        self._reliably(lambda: self._settle(state))

    def finish(self, state: SweepState, folder: Path) -> None:
        """Stores what is left and the files of the sweep's folder, then closes its runs. Raises TrackerUnavailable."""
        self._forget()  # the store may have executed a request after its answer was lost
        self._reliably(lambda: self._finish(state, folder))

    def _reliably(self, action: Callable[[], None]) -> None:
        """Runs `action`; repeats it once if a run was deleted meanwhile.

        After a failure all knowledge of the store is dropped: a request whose answer was lost may have been executed,
        so the next attempt asks the store for its contents.
        """
        try:
            try:
                action()
            except RunGone:
                self._forget()
                action()
        except TrackerUnavailable:
            self._forget()
            raise
        except (Rejected, RunGone, OSError) as error:
            self._forget()
            message = " ".join(redact(str(error), self._uri).split())
            raise TrackerUnavailable(f"MLflow at {redact(self._uri)}: {message[:200]}") from error

    def _forget(self) -> None:
        self._runs = None
        self._stored.clear()
        self._configured.clear()

    def _sync(self, state: SweepState, rest: Callable[[], None] = no_pause) -> None:
        runs = self._attached(state)
        now = {n: _Snapshot(r.status, r.reason, r.reports) for n, r in state.records.items() if not _growing(r)}
        changed = [name for name, snapshot in now.items() if self._stored.get(name) != snapshot]
        changed = [name for name in changed if not self._is_complete(runs, runs.get(name), now[name])]
        for name in changed:
            self._store_numbers(runs, state.records[name], now[name])
            rest()
        self._store_summary(runs, state)
        for name in changed:
            self._store_files(runs, state.records[name], now[name])
            self._stored[name] = now[name]
            rest()

    def _settle(self, state: SweepState) -> None:
        self._sync(state)
        runs = self._attached(state)
        for name, record in state.records.items():
            run = runs.get(name)
            if run and not record.status.final and not _growing(record):
                runs.log(run, tags={"gramtune.status": "UNFINISHED"})
                runs.set_status(run, "KILLED", _end(run, record.last))
                self._stored.pop(name, None)
        parent = self._parent(runs, state)
        runs.set_status(parent, _sweep_status(state), _ended(parent, state))

    def _finish(self, state: SweepState, folder: Path) -> None:
        self._settle(state)
        runs = self._attached(state)
        parent = self._parent(runs, state)
        store_files(runs, parent, state, folder)
        store_datasets(runs, parent, state)
        store_model(runs, parent, state, folder, self._register)
        self._describe(runs, parent, state, store_preview(runs, parent, state, folder))

    def _attached(self, state: SweepState) -> SweepRuns:
        if self._runs is None:
            self._runs = SweepRuns(self._uri, _sweep_id(self._folder, self._uri), self._folder.parent)
            store_view(self._runs, self._parent(self._runs, state), state)
            if is_server(self._uri):
                self._link = runs_url(redact(self._uri), self._runs.experiment_id, view_key(self._runs.sweep_id))
        return self._runs

    def _parent(self, runs: SweepRuns, state: SweepState) -> StoredRun:
        if found := runs.get(SWEEP_RUN):
            return found
        now = time.time()  # a sampled sweep may have no trial yet
        start = min((started(record, now) for record in state.records.values()), default=int(now * 1000))
        tags = {"gramtune.kind": "sweep", **identity_tags(_versions(self._folder, state.plan))}
        return runs.create(SWEEP_RUN, state.plan.sweep.name, start, tags)

    def _is_complete(self, runs: SweepRuns, run: StoredRun | None, snapshot: _Snapshot) -> bool:
        """Whether nothing has to be sent for this trial: it has not begun, or its run is closed and complete."""
        if run is None:
            return snapshot.status == Status.PENDING and not snapshot.reports
        if runs.missing(run, snapshot.points):
            return False
        parent = runs.get(SWEEP_RUN)
        expected = {"gramtune.status": snapshot.status, PARENT: parent.run_id if parent else ""}
        closed = run.status == _MLFLOW_STATUS.get(snapshot.status) and expected.items() <= run.tags.items()
        return closed or snapshot.status == Status.PENDING

    def _store_numbers(self, runs: SweepRuns, record: TrialRecord, snapshot: _Snapshot) -> None:
        trial = record.trial
        parent = runs.get(SWEEP_RUN)
        assert parent is not None, "_attached makes it"
        run = runs.get(trial.name)
        status_tags = trial_tags(snapshot.status, redact(snapshot.reason, self._uri), snapshot.last)
        if run is not None and _outgrown(run, status_tags):
            runs.delete(trial.name)  # MLflow cannot delete a value: means over fewer replicates would remain
            self._configured.discard(trial.name)
            run = None
        if run is None:
            tags = {"gramtune.kind": "trial", PARENT: parent.run_id, "mlflow.user": parent.tags.get("mlflow.user", "")}
            tags |= {key: value for key, value in status_tags.items() if value}  # in the same request, which is cheaper
            run = runs.create(trial.name, f"{record.number}: {run_name(trial)}", started(record, time.time()), tags)
        if not snapshot.status.final:
            runs.set_status(run, "RUNNING")
        runs.log(run, snapshot.points, trial_params(trial), {PARENT: parent.run_id, **status_tags})

    def _store_summary(self, runs: SweepRuns, state: SweepState) -> None:
        parent = self._parent(runs, state)
        if state.unfinished:
            runs.set_status(parent, "RUNNING")
        if parent.status == "RUNNING":  # a closed run shows the figure that `finish` stored
            self._describe(runs, parent, state, "")

    def _describe(self, runs: SweepRuns, parent: StoredRun, state: SweepState, figure: str) -> None:
        note = redact(description(state, figure), self._uri)
        runs.log(
            parent,
            [*best_points(state), *verdict_points(state)],
            tags={"mlflow.note.content": note, **verdict_tags(state)},
        )

    def _store_files(self, runs: SweepRuns, record: TrialRecord, snapshot: _Snapshot) -> None:
        name = record.trial.name
        run = runs.get(name)
        assert run is not None, "_store_numbers makes it"
        if name not in self._configured:
            config = record.trial.config.model_dump(mode="json")
            runs.log_text(run, yaml.safe_dump(config, sort_keys=False), "config.yaml")
            self._configured.add(name)
        folder = trial_folder(self._folder, name)
        for step, image in sample_grids(folder).items():
            if step in snapshot.reports:
                runs.log_image(run, IMAGES, step, image)
        if snapshot.status.final:
            _store_checkpoint(runs, run, folder)
            runs.set_status(run, _MLFLOW_STATUS[snapshot.status], _end(run, snapshot.last))


def _growing(record: TrialRecord) -> bool:
    """Whether a finished trial is getting more replicates; its run is replaced when all of them have values."""
    return not record.status.final and record.trained > 0


def _outgrown(run: StoredRun, tags: Mapping[str, str]) -> bool:
    """Whether the stored run has fewer replicates than the trial now, according to its tag `2 of 3`."""
    stored, now = (int(each.get("gramtune.replicates", "0").rpartition(" ")[2]) for each in (run.tags, tags))
    return 0 < stored < now


def _store_checkpoint(runs: SweepRuns, run: StoredRun, folder: Path) -> None:
    newest = next(iter(checkpoints(folder)), None)
    if newest:
        runs.log_file(run, newest, "checkpoint", "trainer.pt")


def _sweep_id(folder: Path, uri: str) -> str:
    """The id of a sweep, stored in its folder, so that the folder can be moved and sent to any server. Raises OSError.

    A copy that uses the store of its original gets a new id; otherwise both would write to the same runs. A copy that
    came with its own store keeps its id, and continues the runs there.
    """
    file = folder / "sweep_id"
    identity, places = _identity(file)
    others = [p for p in places if _identity(Path(p) / file.name)[0] == identity and not os.path.samefile(p, folder)]
    embedded = uri == default_uri(folder.parent)
    if not identity or any(not embedded or Path(place).parent == folder.parent for place in others):
        identity, others = uuid.uuid4().hex, []
    if places != (wanted := [str(folder), *others]):
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{line}\n" for line in (identity, *wanted))
        write_atomically(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return identity


def _identity(file: Path) -> tuple[str, list[str]]:
    """The id and the folders that `_sweep_id` wrote: its own, then its originals. Empty if the file is not legal."""
    try:
        identity, *places = file.read_text(encoding="utf-8").strip().split("\n")
    except (OSError, UnicodeDecodeError):
        return "", []
    return (identity, places) if re.fullmatch(r"[0-9a-f]{32}", identity) else ("", [])


def _versions(folder: Path, plan: Plan) -> dict[str, Any]:
    """The versions stored in the sweep's folder; without them, those of this machine."""
    try:
        return read_versions(folder) or versions(plan)
    except SpecError:  # `resume` reports the damaged file
        return versions(plan)


def _end(run: StoredRun, last: Report | None) -> int:
    return max(run.started, last.timestamp * 1000 if last else int(time.time() * 1000))


def _ended(parent: StoredRun, state: SweepState) -> int:
    """End time of the sweep in milliseconds: the time of its last report, not of storing it."""
    reports = [record.last.timestamp for record in state.records.values() if record.last]
    return max([parent.started, *(1000 * seconds for seconds in reports)])


def _sweep_status(state: SweepState) -> str:
    if state.unfinished:
        return "KILLED"
    failed = all(record.status == Status.FAILED for record in state.records.values())
    return "FAILED" if failed else "FINISHED"
