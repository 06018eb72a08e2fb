"""The driver's journal: every event of a sweep, one JSON line each, appended as it happens.

It is the single source of truth: tables, tracker and figures are rebuilt from it. A process killed while writing loses
at most its last line.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gramtune.errors import Issue, SpecError, clipped
from gramtune.io import watching_space
from gramtune.record.object_store import JOURNAL, LocalStore, RunStore
from gramtune.record.report import Report, Status
from gramtune.record.state import Inheritance, SweepState
from gramtune.space.plan import Plan, PlannedTrial, planned


class Journal:
    """Appends events to the journal in a sweep's folder, to its store, and to the state, in this order."""

    def __init__(self, folder: Path, state: SweepState, store: RunStore | None = None) -> None:
        self._path, self._state, self._store = folder / JOURNAL, state, store or LocalStore(folder)
        self._before, self._began = state.elapsed, time.monotonic()
        mend(self._path)

    @property
    def elapsed(self) -> float:
        """Seconds that this driver and earlier ones have run; the only clock of the time budget."""
        return self._before + time.monotonic() - self._began

    def opened(self, changed: Sequence[str]) -> None:
        """Records that the command started. `changed`: changes of code and packages since the sweep began."""
        self._append({"driver": os.getpid(), "changed": changed})
        self._store.store_journal()

    def started(self, trial: PlannedTrial) -> None:
        """The trial started, or restarted after a failure or an interruption."""
        event = {"trial": trial.name, "status": Status.RUNNING, "assignment": trial.assignment}
        self._append({**event, "first": trial.first})
        self._state.started(trial)

    def reported(self, trial: str, report: Report) -> None:
        """The trial evaluated."""
        self._append({"trial": trial, **report.to_json()})
        self._state.reported(trial, report)

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
        """Records the new total number of replicates of these finished trials, in one line, so it is never partial."""
        self._append({"replicates": dict(replicates)})
        self._state.extended(replicates)

    def _append(self, event: Mapping[str, Any]) -> None:
        """Appends one line. Raises DiskFull if the disk is full."""
        text = (
            json.dumps({"time": round(time.time(), 3), "elapsed": round(self.elapsed, 3), **event}, allow_nan=False)
            + "\n"
        )
        with watching_space(self._path.parent), self._path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._store.append(text)


def load_state(folder: Path, plan: Plan) -> SweepState:
    """Rebuilds the state from the journal under the given plan; see `SweepState.reopen`.

    Raises SpecError with the line of an event that cannot be read.
    """
    state = SweepState(plan)
    events = []
    for number, line in _lines(folder / JOURNAL):
        try:
            event = json.loads(line)
            _replay(event, state)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            where = f"{folder / JOURNAL}:{number}"
            raise SpecError([Issue(where, f"{_damage(line, error)}; {_REMEDY}")]) from None
        events.append(event)
    state.elapsed = _elapsed(events)
    state.reopen()
    return state


_REMEDY = "delete that line and resume the sweep: a trial that lacks a report continues from its checkpoint"


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and text of each complete line; a kill can cut off the last one. Raises SpecError."""
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise SpecError([Issue(str(path), f"cannot be read: {error.strerror or error}")]) from None
    yield from enumerate(content.split(b"\n")[:-1], start=1)


def _damage(line: bytes, error: Exception) -> str:
    if not line.strip(b"\0 \t\r"):
        return "the line is empty or NUL bytes, as a power failure leaves them"
    reason = f"no value for {error}" if isinstance(error, KeyError) else next(iter(str(error).splitlines()), "")
    return f"{clipped(repr(line.decode(errors='replace')), 60)} is not an event of this sweep ({clipped(reason, 100)})"


def _replay(event: Any, state: SweepState) -> None:
    """Applies an event to the state. Raises ValueError, LookupError, TypeError or AttributeError for anything else."""
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
    elif "driver" not in event:
        raise ValueError("neither a trial nor a driver")


def _elapsed(events: Iterable[Mapping[str, Any]]) -> float:
    """Total running time of all drivers, in seconds.

    Each event holds the running time of its driver, from a monotonic clock that stops while the machine sleeps. Events
    of old versions hold the time of day, or no time.
    """
    total, begun, before = 0.0, None, 0.0
    for event in events:
        now = event.get("time", before)
        if "driver" in event:
            begun = before = now
        if "elapsed" in event:
            total = event["elapsed"]
        elif begun is not None:
            total += max(0.0, now - before)
        before = now
    return total


def mend(path: Path) -> None:
    """Removes an incomplete last line, so that the next event starts a new line."""
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
