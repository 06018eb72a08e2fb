"""The driver of a sweep, used by every runner: it hands out trials, takes their reports and stops them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

from gramtune.io import DiskFull, watching_space
from gramtune.record import budget
from gramtune.record.journal import Journal
from gramtune.record.pruning import Rungs
from gramtune.record.redaction import redact
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState, TrialRecord
from gramtune.run import requests
from gramtune.run.interruption import Interruption
from gramtune.run.population import Population
from gramtune.space.plan import PlannedTrial, planned


class Proposer(Protocol):
    """The source of new configurations."""

    @property
    def waiting(self) -> bool:
        """Whether there is no next trial yet, but will be once those that were handed out have ended."""

    def propose(self) -> PlannedTrial | None:
        """The next trial, or None if there are no more, or, where `waiting`, none yet."""

    def learn(self, record: TrialRecord) -> None:
        """Learns from a report or the end of a trial."""

    def enqueue(self, record: TrialRecord) -> None:
        """Learns of a trial that a user asked for."""


class NothingNew:
    """The Proposer of a grid: all trials are planned."""

    waiting = False

    def propose(self) -> PlannedTrial | None:
        """None."""
        return None

    def learn(self, record: TrialRecord) -> None:
        """Nothing to learn."""

    def enqueue(self, record: TrialRecord) -> None:
        """Nothing to learn."""


_log = logging.getLogger(__name__)
Needed = Callable[[SweepState], Mapping[str, int]]
"""Which finished trials are to be given more replicates, and how many each is to have in all."""


def nobody(state: SweepState) -> Mapping[str, int]:
    """`Needed` of a sweep whose trials all have equally many."""
    return {}


class Driver:
    """One running sweep: first the unfinished trials, then the proposer's trials.

    `changed`: the differences of code and packages from those that the sweep started with. `interruption` tells the
    runner to stop. `needed` is asked whenever every trial has ended, if the sweep gives replicates until
    it is decided.
    """

    def __init__(
        self,
        state: SweepState,
        folder: Path,
        proposer: Proposer,
        changed: Sequence[str] = (),
        interruption: Interruption | None = None,
        needed: Needed = nobody,
    ) -> None:
        self.state, self.folder = state, folder
        self.interruption = interruption or Interruption()
        self.halted = ""
        """Why the sweep must stop now, to be resumed later; empty while it may continue."""
        self.exhausted = False
        """Whether all trials were handed out; if none of them is unfinished, the sweep is complete."""
        self._journal, self._proposer, self._rungs = Journal(folder, state), proposer, Rungs.of(state)
        self._to_stop: set[str] = set()
        """Running trials that a user asked to stop."""
        self._running: set[str] = set()
        """Trials that were handed out and have neither ended nor paused."""
        self._held: dict[str, Report] = {}
        """Of a synchronous search: trials at a rung that trials before them have not come to yet."""
        self._needed = needed if state.plan.sweep.max_replicates is not None else None
        self.population: Population | None = None
        """What decides who waits and who inherits; None without population-based training."""
        if state.plan.sweep.scheduler.name == "pbt":
            self.population = Population(state, folder, self._journal)
        self._waiting = self.population.unarrived() if self.population else [r.due for r in state.unfinished]
        with self._halting_when_full():
            self._journal.opened(changed)

    @property
    def pausing(self) -> bool:
        """Whether a next trial may come later: a generation, a look, a batch or a rung waits for its last trials."""
        return self._waits and not (self.halted or self.exhausted)

    @property
    def _waits(self) -> bool:
        return bool(self.population or self._needed or self._held or self._proposer.waiting)

    @property
    def _synchronous(self) -> bool:
        return self.state.plan.sweep.search.synchronous and self.population is None

    def next(self) -> PlannedTrial | None:
        """The next trial to run, or None if there is none, or, where `pausing`, none yet."""
        if self.halted:
            return None
        self._take_requests()
        if reason := self._spent():
            self._stop_waiting(reason)
            self.exhausted = True
            return None
        trial = self._waiting.pop(0) if self._waiting else self._proposer.propose() or self._turn()
        self.exhausted = trial is None and not (self._waits and (self._running or self.state.unfinished))
        if trial:
            _log.info("trial %s is handed out, from replicate %d on", trial.name, trial.first)
            self._running.add(trial.name)
            if self._synchronous and trial.name not in self.state.records:
                self.started(trial)  # the order of proposals is that of the journal, whichever trial starts first
        return trial

    def started(self, trial: PlannedTrial) -> None:
        """The trial started or restarted."""
        record = self.state.records.get(trial.name)
        with self._halting_when_full():
            self._journal.started((record.trial if record else trial)._replace(first=trial.first))

    def heard(self, message: Mapping[str, Any], say: Callable[[str], None]) -> bool:
        """Takes the result of an `Attempt`; returns whether its trial continues."""
        name: str = message["trial"]
        _log.debug("trial %s: step %s, %s", name, message.get("step", "–"), message.get("status", "no report"))
        if "halt" in message:
            self.halt(message["halt"])
            return False
        if "failed" in message:
            self.failed(name, message["failed"])
            return False
        for line in message["damaged"]:
            say(f"{name}: {line}; the trial goes on from step {message['step']}")
        return self.reported(name, message)

    def reported(self, name: str, report: Mapping[str, Any]) -> bool:
        """Takes the fields of `Report`; returns whether the trial continues."""
        if self.population and self.population.known(report["step"]):
            return not self.halted
        record = self.state.records[name]
        with self._halting_when_full():
            self._journal.reported(name, self._with_values(record, report))
            newest = Report.from_json(report)
            added = newest.first > 0  # to a trial that was judged before, and reported to the proposer
            held = not added and self._early(name, newest.step)
            if held:
                self._held[name] = newest
            elif not added:
                self._judge(record, newest)
            self._take_requests()
            reason = budget.ON_REQUEST if name in self._to_stop else self._spent()
            if reason and not record.status.final:
                self._stop(record, reason)
            if not added:
                self._proposer.learn(record)
            self._release()
        paused = held or (self.population is not None and self.population.pauses(report["step"]))
        ended = paused or record.status.final
        self._running -= {name} if ended else set()
        return not (self.halted or ended)

    def failed(self, name: str, reason: str) -> None:
        """The trial failed. Its reports remain; if replicates were being added, the earlier replicates remain.

        The reason appears in every table and page, so secrets are redacted.
        """
        record, reason = self.state.records[name], redact(reason)
        added = record.trained
        self._running.discard(name)
        with self._halting_when_full():
            self._journal.ended(name, Status.FAILED, f"replicates from {added} on: {reason}" if added else reason)
            if not added:
                self._proposer.learn(record)
            self._release()

    def halt(self, reason: str) -> None:
        """Stops the sweep now; running trials stay unfinished."""
        self.halted = self.halted or reason

    def _judge(self, record: TrialRecord, report: Report) -> None:
        metric = self.state.plan.metric
        hopeless = self._rungs.decide(record.trial.name, record.standing(report, metric), metric)
        if hopeless and not record.status.final:
            self._journal.ended(record.trial.name, Status.PRUNED, hopeless)

    def _early(self, name: str, step: int) -> bool:
        """Whether, in a synchronous search, a trial before this one has neither ended nor come to this rung."""
        if not self._synchronous or step not in self._rungs.steps(name):
            return False
        before = takewhile(lambda record: record.trial.name != name, self.state.records.values())
        return any(not r.status.final and (r.last is None or r.last.step < step) for r in before)

    def _release(self) -> None:
        """Judges the trials that waited for others at a rung, in order, and lets those that are not stopped go on."""
        for name in [name for name in self.state.records if name in self._held]:
            record = self.state.records[name]
            if self._early(name, self._held[name].step):
                continue
            report = self._held.pop(name)
            self._judge(record, report)
            if record.status.final:
                self._proposer.learn(record)
            else:
                self._waiting.append(record.due)
        if self._synchronous:
            order = {name: i for i, name in enumerate(self.state.records)}
            self._waiting.sort(key=lambda trial: order[trial.name])

    def _take_requests(self) -> None:
        with self._halting_when_full():
            for request in requests.taken(self.folder):
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
        """A running trial stops at its next report, one that waits at once."""
        record = self.state.records.get(name)
        if name in self._running:
            self._to_stop.add(name)
        elif record and not record.status.final:
            self._waiting = [trial for trial in self._waiting if trial.name != name]
            self._stop(record, budget.ON_REQUEST)

    def _turn(self) -> PlannedTrial | None:
        """The first trial of the next generation or look, if this one has ended."""
        if self._running:
            return None
        with self._halting_when_full():
            if self.population is not None:
                self._waiting = self.population.turn()
            elif self._needed is not None and (wanted := self._needed(self.state)):
                self._journal.extended(wanted)
                self._waiting = [record.due for record in self.state.unfinished]
        return self._waiting.pop(0) if self._waiting and not self.halted else None

    def _with_values(self, record: TrialRecord, report: Mapping[str, Any]) -> Mapping[str, Any]:
        """Adds the numbers in use as traces `value/…`, so that stores with immutable parameters can plot them."""
        if not self.population:
            return report
        numbers = {k: v for k, v in record.assignment.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        replicates = record.trial.config.training.replicates
        values = {f"value/{key}": [float(value)] * replicates for key, value in numbers.items()}
        return {**report, "traces": {**report["traces"], **values}}

    def _spent(self) -> str:
        """The budget that was reached; empty for none."""
        return budget.reached(self.state.plan.sweep.budget, self._journal.elapsed, self.state.taken)

    def _stop_waiting(self, reason: str) -> None:
        """Trials that have not been handed out, or that wait for their generation, will not report again."""
        self._waiting, self._held = [], {}
        with self._halting_when_full():
            for record in self.state.unfinished:
                if record.trial.name not in self._running:
                    self._stop(record, reason)

    def _stop(self, record: TrialRecord, reason: str) -> None:
        """A budget ends a trial. One that has as many replicates as all have stays what it was without further ones."""
        status, why = Status.STOPPED, reason
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
