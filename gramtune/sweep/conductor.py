"""What every runner does with a sweep: take the next trial, pass on what it reports, stop it when told to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from gramtune.paths import DiskFull, watching_space
from gramtune.sweep.journal import Journal
from gramtune.sweep.plan import PlannedTrial
from gramtune.sweep.pruning import Rungs
from gramtune.sweep.secrets import redact
from gramtune.sweep.state import Status, SweepState, TrialRecord


class Proposer(Protocol):
    """Where new configurations come from."""

    def propose(self) -> PlannedTrial | None:
        """The next trial, or None if there is no more."""

    def learn(self, record: TrialRecord) -> None:
        """Takes note of a report or of the end of a trial."""


class NothingNew:
    """The Proposer of a grid: all trials are planned."""

    def propose(self) -> PlannedTrial | None:
        """None."""
        return None

    def learn(self, record: TrialRecord) -> None:
        """Nothing to learn."""


class Conductor:
    """One sweep on its way: first the trials that are not finished, then what the proposer proposes."""

    def __init__(self, state: SweepState, folder: Path, proposer: Proposer) -> None:
        self.state, self.folder = state, folder
        self.halted = ""
        """Why the sweep has to stop where it is, to be resumed later; empty while it may go on."""
        self.exhausted = False
        """Whether all trials have been handed out; with none of them unfinished, the sweep is complete."""
        self._journal, self._proposer, self._rungs = Journal(folder, state), proposer, Rungs.of(state)
        self._started = time.monotonic()
        self._waiting = [record.trial for record in state.unfinished]

    def next(self) -> PlannedTrial | None:
        """The next trial to run, or None if there is no more."""
        if self.halted:
            return None
        if self._spent():
            self.exhausted = True
            return None
        trial = self._waiting.pop(0) if self._waiting else self._proposer.propose()
        self.exhausted = trial is None
        return trial

    def started(self, trial: PlannedTrial) -> None:
        """The trial has begun, or begun again."""
        with self._halting_when_full():
            self._journal.started(trial)

    def reported(self, name: str, report: Mapping[str, Any]) -> bool:
        """Takes the fields of `Report`; returns whether the trial is to go on."""
        with self._halting_when_full():
            self._journal.reported(name, report)
            record = self.state.records[name]
            assert record.last is not None
            reason = self._rungs.decide(name, record.last, self.state.plan.metric) or self._spent()
            if reason and not record.status.final:
                self._journal.ended(name, Status.PRUNED, reason)
            self._proposer.learn(record)
        return not (self.halted or self.state.records[name].status.final)

    def failed(self, name: str, reason: str) -> None:
        """The trial is given up. The reason goes into every table and page: without secrets."""
        reason = redact(reason)
        with self._halting_when_full():
            self._journal.ended(name, Status.FAILED, reason)
            self._proposer.learn(self.state.records[name])

    def halt(self, reason: str) -> None:
        """Stops the sweep where it is; trials that are running stay unfinished."""
        self.halted = self.halted or reason

    def _spent(self) -> str:
        """Which budget has been reached; empty for none."""
        budget = self.state.plan.sweep.budget
        if budget.seconds is not None and time.monotonic() - self._started >= budget.seconds:
            return f"time budget of {budget.seconds:g} s reached"
        if budget.steps is not None:
            records = self.state.records.values()
            steps = sum(r.last.step * r.trial.config.training.replicates for r in records if r.last)
            if steps >= budget.steps:
                return f"budget of {budget.steps} training steps reached"
        return ""

    @contextmanager
    def _halting_when_full(self) -> Iterator[None]:
        try:
            with watching_space(self.folder):
                yield
        except DiskFull as error:
            self.halt(str(error))
