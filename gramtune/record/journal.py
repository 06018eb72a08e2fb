"""The driver's journal: every event of a sweep, one JSON line each, appended as it happens.

It is the single source of truth: tables, tracker and figures are rebuilt from it. A process killed while writing loses
at most its last line.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gramtune.io import watching_space
from gramtune.record.object_store import JOURNAL, mirror_of
from gramtune.record.report import Report, Status
from gramtune.record.state import Inheritance, SweepState
from gramtune.space.plan import Plan, PlannedTrial, planned


class Journal:
    """Appends events to the journal of a sweep's folder, and to the state, in this order."""

    def __init__(self, folder: Path, state: SweepState) -> None:
        self._path, self._state, self._mirror = folder / JOURNAL, state, mirror_of(folder)
        mend(self._path)

    def opened(self, changed: Sequence[str]) -> None:
        """The command runs, for the first time or again. `changed`: changes of code and packages since the start."""
        self._append({"driver": os.getpid(), "changed": changed})
        if self._mirror:
            self._mirror.store_journal()

    def started(self, trial: PlannedTrial) -> None:
        """The trial started, or restarted after a failure or an interruption."""
        event = {"trial": trial.name, "status": Status.RUNNING, "assignment": trial.assignment}
        self._append({**event, "first": trial.first})
        self._state.started(trial)

    def reported(self, trial: str, report: Mapping[str, Any]) -> None:
        """The trial evaluated; `report` has the fields of `Report` and may have others."""
        line = Report.from_json(report)
        self._append({"trial": trial, **line._asdict()})
        self._state.reported(trial, line)

    def ended(self, trial: str, status: Status, reason: str) -> None:
        """The trial ended for a reason that it did not report itself."""
        self._append({"trial": trial, "status": status, "reason": reason})
        self._state.ended(trial, status, reason)

    def enqueued(self, trial: PlannedTrial) -> None:
        """A user asked for the trial."""
        self._append({"enqueue": trial.assignment})
        self._state.enqueued(trial)

    def generation(self, step: int, heirs: Mapping[str, Inheritance]) -> None:
        """A generation of a population ended after this step; the heirs have their parents' checkpoints."""
        self._append({"generation": step, "heirs": {name: [h.parent, h.assignment] for name, h in heirs.items()}})
        self._state.inherited(step, heirs)

    def extended(self, replicates: Mapping[str, int]) -> None:
        """All trials have ended, and these are to have so many replicates in all: one line, so it is whole or not."""
        self._append({"replicates": dict(replicates)})
        self._state.extended(replicates)

    def _append(self, event: Mapping[str, Any]) -> None:
        """Raises DiskFull where there is no space."""
        text = json.dumps({"time": round(time.time(), 3), **event}, allow_nan=False) + "\n"
        with watching_space(self._path.parent), self._path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if self._mirror:
            self._mirror.append(text)


def load_state(folder: Path, plan: Plan) -> SweepState:
    """The state that the journal records, under the given plan; see `SweepState.reopen`."""
    state = SweepState(plan)
    path = folder / JOURNAL
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    events = [json.loads(text) for text in lines if text.endswith("\n")]  # a kill can cut off the last line
    for event in events:
        _replay(event, state)
    state.elapsed = _elapsed(events)
    state.reopen()
    return state


def _replay(event: Mapping[str, Any], state: SweepState) -> None:
    if "generation" in event:
        step = event["generation"]
        state.inherited(step, {name: Inheritance(step, *heir) for name, heir in event["heirs"].items()})
    elif "enqueue" in event:
        state.enqueued(planned(state.plan.sweep, event["enqueue"]))
    elif "replicates" in event:
        state.extended(event["replicates"])
    elif "step" in event:
        state.reported(event["trial"], Report.from_json(event))
    elif event.get("status") == Status.RUNNING:
        state.started(planned(state.plan.sweep, event["assignment"]))
    elif "trial" in event:
        state.ended(event["trial"], Status(event["status"]), event["reason"])


def _elapsed(events: Iterable[Mapping[str, Any]]) -> float:
    """Total running time of all drivers, in seconds: from the first event of each to its last."""
    total, begun, before = 0.0, None, 0.0
    for event in events:
        now = event.get("time", before)  # events of old versions have none
        if "driver" in event:
            begun = before = now
        if begun is not None:
            total += max(0.0, now - before)
            before = now
    return total


def mend(path: Path) -> None:
    """Removes an incomplete last line, so that the next event starts on a line of its own."""
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
