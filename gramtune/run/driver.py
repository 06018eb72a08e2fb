"""The driver of a sweep, used by every runner: it hands out trials, takes their reports and stops them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from gramtune.io import DiskFull, watching_space
from gramtune.record import budget
from gramtune.record.journal import Journal
from gramtune.record.object_store import LocalStore, RunStore
from gramtune.record.pruning import Rungs
from gramtune.record.redaction import redact
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState, TrialRecord
from gramtune.run import requests
from gramtune.run.interruption import Interruption
from gramtune.run.messages import Failed, Halted, Message
from gramtune.run.population import Population
from gramtune.space.plan import PlannedTrial, planned


class Proposer(Protocol):
    """The source of new configurations."""

    @property
    def waiting(self) -> bool:
        """Whether the next trial can only be proposed once the running trials have ended."""

    def propose(self) -> PlannedTrial | None:
        """The next trial; None if there are no more, or none yet (`waiting`)."""

    def learn(self, record: TrialRecord) -> None:
        """Learns from a report or the end of a trial."""

    def enqueue(self, record: TrialRecord) -> None:
        """Learns of a trial that the user enqueued."""


class NothingNew:
    """The Proposer of a grid: all trials are planned."""

    waiting = False

    def propose(self) -> PlannedTrial | None:
        """Returns None: there are no more trials."""
        return None

    def learn(self, record: TrialRecord) -> None:
        """Nothing to learn."""

    def enqueue(self, record: TrialRecord) -> None:
        """Nothing to learn."""


_log = logging.getLogger(__name__)
Needed = Callable[[SweepState], Mapping[str, int]]
"""A function that returns the finished trials that need more replicates, with the new total number of each."""


def no_trial_needs_more(state: SweepState) -> Mapping[str, int]:
    """`Needed` for a sweep with a fixed number of replicates: no trial needs more."""
    return {}


class Driver:
    """One running sweep: first the unfinished trials, then the proposer's trials.

    `changed`: changes of code and packages since the sweep began. `interruption` tells the runner to stop. If the sweep
    adds replicates until it is decided, `needed` is called whenever all trials have ended. `store`: where the sweep is
    kept; None: in `folder` itself.
    """

    def __init__(
        self,
        state: SweepState,
        folder: Path,
        proposer: Proposer,
        changed: Sequence[str] = (),
        interruption: Interruption | None = None,
        needed: Needed = no_trial_needs_more,
        store: RunStore | None = None,
    ) -> None:
        self.state, self.folder, self.store = state, folder, store or LocalStore(folder)
        self.interruption = interruption or Interruption()
        self.halted = ""
        """Why the sweep must stop now, to be resumed later; empty while it may continue."""
        self.raised: Exception | None = None
        """The exception of a trial under `--debug`. It ends the sweep and is raised again once all is stored."""
        self.exhausted = False
        """Whether all trials were handed out; if none of them is unfinished, the sweep is complete."""
        self._journal, self._proposer, self._rungs = Journal(folder, state, self.store), proposer, Rungs.of(state)
        self._to_stop: set[str] = set()
        """Running trials that a user asked to stop."""
        self._running: set[str] = set()
        """Trials that were handed out and have neither ended nor paused."""
        self._held: dict[str, Report] = {}
        """In a synchronous search: trials that wait at a rung until earlier trials have reached it."""
        self._needed = needed if state.plan.sweep.max_replicates is not None else None
        self.population: Population | None = None
        """What decides who waits and who inherits; None without population-based training."""
        if state.plan.sweep.is_population:
            self.population = Population(state, folder, self._journal)
        self._pauses = state.plan.sweep.pruner.pauses
        unfinished = sorted(state.unfinished, key=lambda record: self._pauses and record.status == Status.PENDING)
        self._waiting = self.population.unarrived() if self.population else [record.due for record in unfinished]
        with self._halting_when_full():
            self._journal.opened(changed)

    @property
    def pausing(self) -> bool:
        """Whether a next trial may come later: after a generation, a look, a batch, a rung, or by a promotion."""
        return self._waits and not (self.halted or self.exhausted)

    @property
    def _waits(self) -> bool:
        return bool(self.population or self._needed or self._held or self._pauses or self._proposer.waiting)

    @property
    def _synchronous(self) -> bool:
        return self.state.plan.sweep.search.synchronous and self.population is None

    def next(self) -> PlannedTrial | None:
        """The next trial to run; None if there are no more, or none yet (`pausing`)."""
        if self.halted:
            return None
        self._take_requests()
        if reason := self._spent():
            self._stop_waiting(reason)
            self.exhausted = True
            return None
        trial = self._promotion() or (self._waiting.pop(0) if self._waiting else None)
        trial = trial or self._proposer.propose() or self._turn()
        self.exhausted = trial is None and not (self._waits and (self._running or self.state.unfinished))
        if trial:
            _log.info("trial %s is handed out, from replicate %d on", trial.name, trial.first)
            self._running.add(trial.name)
            if self._synchronous and trial.name not in self.state.records:
                self.started(trial)  # so that the journal has the order of proposals, not of starts
        return trial

    def started(self, trial: PlannedTrial) -> None:
        """The trial started or restarted."""
        record = self.state.records.get(trial.name)
        with self._halting_when_full():
            self._journal.started(replace(record.trial if record else trial, first=trial.first))

    def heard(self, message: Message, say: Callable[[str], None]) -> bool:
        """Handles the message of an `Attempt`; returns whether its trial continues."""
        match message:
            case Halted():
                self.halt(message.reason)
                return False
            case Failed():
                self.failed(message.trial, message.reason)
                return False
        report = message.report
        _log.debug("trial %s: step %d, %s", message.trial, report.step, report.status)
        for line in message.damaged:
            say(f"{message.trial}: {line}; the trial continues from step {report.step}")
        return self.reported(message.trial, report)

    def reported(self, name: str, report: Report) -> bool:
        """Handles a report; returns whether the trial continues."""
        if self.population and self.population.known(report.step):
            return not self.halted
        record = self.state.records[name]
        with self._halting_when_full():
            self._journal.reported(name, self._with_values(record, report))
            added = report.first > 0  # these replicates are added to a trial that was already judged and learned
            held = not added and self._early(name, report.step)
            if held:
                self._held[name] = report
            elif not added:
                self._prune(record, report)
            self._take_requests()
            reason = budget.ON_REQUEST if name in self._to_stop else self._spent()
            if reason and not record.status.final:
                self._stop(record, reason)
            if not added:
                self._proposer.learn(record)
            self._release()
        paused = held or (self.population is not None and self.population.pauses(report.step))
        ended = paused or record.status.final
        self._running -= {name} if ended else set()
        return not (self.halted or ended)

    def failed(self, name: str, reason: str) -> None:
        """Records that the trial failed. Its reports remain; if replicates were being added, the earlier ones remain.

        The reason appears in every table and page, so secrets are redacted.
        """
        record, reason = self.state.records[name], redact(reason)
        added = record.trained
        self._running.discard(name)
        self._rungs.forget(name)
        with self._halting_when_full():
            self._journal.ended(name, Status.FAILED, f"replicates from {added} on: {reason}" if added else reason)
            if not added:
                self._proposer.learn(record)
            self._release()

    def halt(self, reason: str) -> None:
        """Stops the sweep now; running trials stay unfinished."""
        self.halted = self.halted or reason

    def _prune(self, record: TrialRecord, report: Report) -> None:
        if 0 < report.step <= record.passed:  # a promoted trial repeats the report of its checkpoint
            return
        metric = self.state.plan.metric
        hopeless = self._rungs.decide(record.trial.name, record.standing(report, metric), metric)
        if hopeless and not record.status.final:
            self._journal.ended(record.trial.name, Status.PAUSED if self._pauses else Status.PRUNED, hopeless)

    def _promotion(self) -> PlannedTrial | None:
        """The paused trial to continue now; trials that an earlier driver left running come first.

        In a synchronous search trials are promoted together, see `_turn`.
        """
        left = bool(self._waiting) and self.state.records[self._waiting[0].name].status == Status.RUNNING
        name = "" if left or self._synchronous else next(self._rungs.promotable(self.state.plan.metric), "")
        return self._promoted(name) if name else None

    def _promoted(self, name: str) -> PlannedTrial:
        record = self.state.records[name]
        self._rungs.release(name)
        with self._halting_when_full():
            self._journal.started(record.trial)
        return record.due

    def _early(self, name: str, step: int) -> bool:
        """In a synchronous search: whether an earlier trial has neither ended nor reached this rung."""
        if not self._synchronous or self._pauses or step not in self._rungs.steps(name):
            return False
        before = takewhile(lambda record: record.trial.name != name, self.state.records.values())
        return any(not r.status.final and (r.last is None or r.last.step < step) for r in before)

    def _release(self) -> None:
        """Judges the trials that wait at a rung, in order; those that are not stopped continue."""
        for name in [name for name in self.state.records if name in self._held]:
            record = self.state.records[name]
            if self._early(name, self._held[name].step):
                continue
            report = self._held.pop(name)
            self._prune(record, report)
            if record.status.final:
                self._proposer.learn(record)
            else:
                self._waiting.append(record.due)
        if self._synchronous:
            order = {name: i for i, name in enumerate(self.state.records)}
            self._waiting.sort(key=lambda trial: order[trial.name])

    def _take_requests(self) -> None:
        with self._halting_when_full():
            for request in requests.consume(self.folder):
                if "stop" in request:
                    self._stop_one(request["stop"])
                elif (trial := planned(self.state.plan.sweep, request["enqueue"])).name not in self._running:
                    self._enqueue(trial)
            self._release()  # trials may wait for one that was stopped

    def _enqueue(self, trial: PlannedTrial) -> None:
        if trial.name not in self.state.records:
            self._journal.enqueued(trial)
            self._proposer.enqueue(self.state.records[trial.name])
            self._waiting.append(trial)

    def _stop_one(self, name: str) -> None:
        """Stops a trial on request: a running one at its next report, a waiting or paused one at once."""
        record = self.state.records.get(name)
        if name in self._running:
            self._to_stop.add(name)
        elif record and (not record.status.final or record.status == Status.PAUSED):
            self._waiting = [trial for trial in self._waiting if trial.name != name]
            self._stop(record, budget.ON_REQUEST)

    def _turn(self) -> PlannedTrial | None:
        """The first trial of the next generation, rung or look, if the current one has ended."""
        if self._running:
            return None
        with self._halting_when_full():
            if self.population is not None:
                self._waiting = self.population.turn()
            elif names := list(self._rungs.promotable(self.state.plan.metric, closed=True)):
                self._waiting = [self._promoted(name) for name in names]
            elif self._needed is not None and (wanted := self._needed(self.state)):
                self._journal.extended(wanted)
                self._waiting = [record.due for record in self.state.unfinished]
        return self._waiting.pop(0) if self._waiting and not self.halted else None

    def _with_values(self, record: TrialRecord, report: Report) -> Report:
        """Adds the current values of varied keys as traces `value/…`, for stores whose parameters cannot change."""
        if not self.population:
            return report
        numbers = {k: v for k, v in record.assignment.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        replicates = record.trial.config.training.replicates
        values: dict[str, list[float | None]]
        values = {f"value/{key}": [float(value)] * replicates for key, value in numbers.items()}
        return replace(report, traces={**report.traces, **values})

    def _spent(self) -> str:
        """The message for a budget that was reached; empty if none was."""
        return budget.reached(self.state.plan.sweep.budget, self._journal.elapsed, self.state.steps_taken)

    def _stop_waiting(self, reason: str) -> None:
        """Stops the trials that are not running, because they will not report again."""
        self._waiting, self._held = [], {}
        with self._halting_when_full():
            for record in self.state.unfinished:
                if record.trial.name not in self._running:
                    self._stop(record, reason)

    def _stop(self, record: TrialRecord, reason: str) -> None:
        """Stops a trial because of a budget or a request.

        A trial with the common number of replicates keeps its earlier status.
        """
        status, why = Status.STOPPED, reason
        self._rungs.forget(record.trial.name)
        if record.trained >= self.state.plan.sweep.min_replicates:
            status, lost = record.outcome
            wanted = record.trial.config.training.replicates
            why = "; ".join(filter(None, [lost, f"{record.trained} of {wanted} replicates: {reason}"]))
        self._journal.ended(record.trial.name, status, why)

    @contextmanager
    def _halting_when_full(self) -> Iterator[None]:
        try:
            with watching_space(self.folder):
                yield
        except DiskFull as error:
            self.halt(str(error))
        except OSError as error:
            self.halt(f"{self.folder} cannot be written: {error.strerror or error}")
