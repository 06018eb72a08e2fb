"""The state of a running or finished sweep, kept by the driver; tables, tracker and live view read only this."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import le
from typing import Any

from gramtune.components import Dataset, Metric
from gramtune.record import budget
from gramtune.record.judging import final_values, standing_values
from gramtune.record.report import Report, Status, Summary, divergence, merge_parts, summarise
from gramtune.space.domain import Assignment
from gramtune.space.judge import Judge
from gramtune.space.plan import Plan, PlannedTrial

_TRAINED = (Status.COMPLETED, Status.DIVERGED)


@dataclass(frozen=True)
class Inheritance:
    """An inheritance in population-based training: the parent whose weights a trial gets, and its new values."""

    step: int
    parent: str
    assignment: Assignment


@dataclass(frozen=True)
class Basis:
    """Data, metrics, number of samples and length behind a value. Only values with equal bases are compared."""

    data: Dataset
    metrics: tuple[Metric, ...]
    """The metrics that compute the optimised values."""
    samples: int
    steps: int


@dataclass
class TrialRecord:
    """The state of one trial."""

    trial: PlannedTrial
    """The trial as planned; in population-based training its values change, see `assignment`."""
    number: int = field(default=0, kw_only=True)
    """Its number in the sweep, from 0; a short name used in tables, tracker and `--trial 7`."""
    judge: Judge = field(default="last", kw_only=True)
    """Which values count: see `Sweep.judge`."""
    status: Status = Status.PENDING
    reason: str = ""
    reports: dict[int, Report] = field(default_factory=dict)
    """Reports by step. After a restart from a checkpoint a trial repeats steps; new reports replace the old ones."""
    parts: dict[int, dict[int, Report]] = field(default_factory=dict)
    """The same reports per group of replicates: by the group's first replicate, then by step."""

    inherited: tuple[Inheritance, ...] = ()
    """Ordered by step."""
    passed: int = 0
    """The step of the last rung at which the trial was promoted."""

    @property
    def assignment(self) -> Assignment:
        """The current values."""
        return self.inherited[-1].assignment if self.inherited else self.trial.assignment

    def assignment_at(self, step: int) -> Assignment:
        """The values used in training up to this step."""
        past = [i.assignment for i in self.inherited if i.step < step]
        return past[-1] if past else self.trial.assignment

    @property
    def last(self) -> Report | None:
        """The newest report."""
        return self.reports[max(self.reports)] if self.reports else None

    @property
    def trained(self) -> int:
        """Number of replicates that finished training, diverged ones included."""
        count = 0
        for first, reports in sorted(self.parts.items()):
            last = reports[max(reports)]
            if first == count and self._is_last(last):
                count += last.replicates
        return count

    def finished(self, metric: str) -> list[float | None]:
        """The value of each replicate that finished training, by seed: see `values`. None if it diverged."""
        values: list[float | None] = []
        for first, reports in sorted(self.parts.items()):
            last = reports[max(reports)]
            ended = self._is_last(last) or (self.status in _TRAINED and last.status in _TRAINED)
            if first == len(values) and ended:
                values += final_values(reports, metric, self.judge) or [None] * last.replicates
        return values

    def _is_last(self, report: Report) -> bool:
        """Whether this report is of the trial's last step; a trial can be made longer later."""
        alive = report.status == Status.COMPLETED or None in report.diverged
        return report.status in _TRAINED and (report.step >= self.trial.config.training.steps or not alive)

    @property
    def due(self) -> PlannedTrial:
        """The trial to train: all replicates, or only those to be added to a finished trial."""
        return self.trial.since(self.trained % self.trial.config.training.replicates)

    @property
    def step(self) -> int:
        """Steps of the most recent group of replicates."""
        return max(self.parts[max(self.parts)], default=0) if self.parts else 0

    @property
    def steps_taken(self) -> int:
        """Training steps of all replicates together."""
        newest = (reports[max(reports)] for reports in self.parts.values())
        return sum(report.step * report.replicates for report in newest)

    def summary(self, metric: str) -> Summary | None:
        """The newest value of a metric over replicates."""
        return summarise(self.values(metric))

    def values(self, metric: str) -> list[float | None]:
        """The value of each replicate that is ranked and reported: see `Sweep.judge`. Empty without a report."""
        return final_values(self.reports, metric, self.judge)

    def standing(self, report: Report, metric: str) -> Report:
        """The trial's report with the metric replaced by the values that the pruner judges."""
        direction = self.trial.config.directions[metric]
        values = standing_values(self.reports, report.step, metric, self.judge, direction)
        return replace(report, metrics={**report.metrics, metric: values})

    def reopen(self) -> None:
        """Makes an ended trial unfinished again."""
        self.status, self.reason = Status.RUNNING if self.reports else Status.PENDING, ""

    def add(self, report: Report) -> None:
        """Stores a report. `reports` is replaced, not mutated: other threads read it."""
        part = {**self.parts.get(report.first, {}), report.step: report}
        self.parts = {**self.parts, report.first: part}
        self.reports = part if len(self.parts) == 1 else merge_parts(self.parts, self.trial.config.training.replicates)

    @property
    def outcome(self) -> tuple[Status, str]:
        """Status and reason of the trial, from all replicates that finished training."""
        newest = [last for part in self.parts.values() if (last := part[max(part)]).status in _TRAINED]
        whys = {report.first + i: why for report in newest for i, why in enumerate(report.diverged) if why}
        return (Status.DIVERGED, divergence(whys, self.trained)) if whys else (Status.COMPLETED, "")


class SweepState:
    """All trial records of a sweep. Written by the runner's thread, read by any."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        judge = plan.sweep.judge
        self.records = {t.name: TrialRecord(t, number=i, judge=judge) for i, t in enumerate(plan.trials)}
        self.generations: set[int] = set()
        """For a population: the steps after which trials inherited from others."""
        self.elapsed = 0.0
        """Wall-clock seconds of earlier runs of the command."""
        self.steps_taken = 0
        """Training steps of all trials and replicates together; updated at every report."""
        self._changed = threading.Condition()
        self.version = 0

    def enqueued(self, trial: PlannedTrial) -> None:
        """A new trial is added to the sweep and waits."""
        with self._changed:
            if trial.name not in self.records:
                record = TrialRecord(trial, number=len(self.records), judge=self.plan.sweep.judge)
                self.records = {**self.records, trial.name: record}

    def started(self, trial: PlannedTrial) -> None:
        """The trial started, restarted or was promoted; a new trial is added to the sweep."""
        self.enqueued(trial)
        record = self.records[trial.name]
        if record.status == Status.PAUSED:
            record.passed = record.step
        self._update(trial.name, Status.RUNNING, "")

    def reported(self, name: str, report: Report) -> None:
        """Records an evaluation of the trial."""
        record = self.records[name]
        with self._changed:
            before = record.steps_taken
            record.add(report)
            self.steps_taken += record.steps_taken - before
        status, reason = report.status, report.reason
        if status in _TRAINED and len(record.parts) > 1:
            status, reason = record.outcome
        self._update(name, status, reason)

    def ended(self, name: str, status: Status, reason: str = "") -> None:
        """The trial ended for a reason that it did not report itself."""
        self._update(name, status, reason)

    def inherited(self, step: int, heirs: Mapping[str, Inheritance]) -> None:
        """A generation of a population ended; these trials continue from others' weights."""
        with self._changed:
            self.generations.add(step)
            for name, inheritance in heirs.items():
                self.records[name].inherited += (inheritance,)
            self.version += 1
            self._changed.notify_all()

    def extended(self, replicates: Mapping[str, int]) -> None:
        """Sets the new total number of replicates of finished trials: see `Replicates`."""
        with self._changed:
            for name, wanted in replicates.items():
                record = self.records[name]
                record.trial = record.trial.of(wanted)
                record.status, record.reason = Status.RUNNING, ""
            self.version += 1
            self._changed.notify_all()

    def reopen(self) -> None:
        """Reopens trials whose end no longer holds: replicates or steps were added, or a budget changed."""
        for record in self.records.values():
            if budget.stands(self.plan.sweep.budget, record.reason):
                continue
            lacking = record.status in _TRAINED and record.trained < record.trial.config.training.replicates
            if record.status == Status.STOPPED or lacking:
                record.reopen()

    def retry_failed(self) -> int:
        """Reopens failed trials, which then continue from their last checkpoints; returns how many."""
        failed = [record for record in self.records.values() if record.status == Status.FAILED]
        for record in failed:
            record.reopen()
        return len(failed)

    def wait(self, version: int, timeout: float) -> int:
        """Blocks until something is newer than `version`, or for `timeout` seconds; returns the current version."""
        with self._changed:
            self._changed.wait_for(lambda: self.version > version, timeout)
            return self.version

    @property
    def completed(self) -> list[TrialRecord]:
        """The completed trials. Only they can win."""
        return [record for record in self.records.values() if record.status == Status.COMPLETED]

    def basis(self, record: TrialRecord) -> Basis:
        """The basis of a trial's values."""
        config, last = record.trial.config, record.last
        metrics, samples = config.computing(self.plan.metrics), config.training.eval_samples
        return Basis(config.data, metrics, last.samples if last else samples, config.training.steps)

    @property
    def groups(self) -> dict[Basis, list[TrialRecord]]:
        """The trials grouped by basis, in the order of the trials."""
        found: dict[Basis, list[TrialRecord]] = {}
        for record in self.records.values():
            found.setdefault(self.basis(record), []).append(record)
        return found

    @property
    def comparable(self) -> bool:
        """Whether all completed trials are ranked against each other."""
        return len({self.basis(record) for record in self.completed}) < 2

    @property
    def best(self) -> TrialRecord | None:
        """The completed trial with the best mean of the primary metric.

        None if several metrics are optimised (see `front`) or the trials are not `comparable`.
        """
        if not self.comparable:
            return None
        scored = [(losses[0], r) for r in self.completed if (losses := self._losses(r))]
        return min(scored, key=lambda pair: pair[0])[1] if scored and len(self.plan.metrics) == 1 else None

    @property
    def front(self) -> list[TrialRecord]:
        """The Pareto front of the completed trials, sorted by the first metric.

        Empty if the trials are not `comparable`.
        """
        if not self.comparable:
            return []
        scored = [(losses, r) for r in self.completed if (losses := self._losses(r))]
        kept: list[tuple[tuple[float, ...], TrialRecord]] = []
        for losses, record in sorted(scored, key=lambda pair: pair[0]):  # after all trials that may dominate it
            if not any(losses != other and all(map(le, other, losses)) for other, _ in kept):
                kept.append((losses, record))
        return [record for _, record in kept]

    def most_current(self, rows: int) -> list[TrialRecord]:
        """At most `rows` trials (at least one), by number; chosen first are running, then last ended, then pending."""
        records = list(self.records.values())
        if len(records) <= rows:
            return records
        order = [record for record in records if record.status == Status.RUNNING]
        order += [record for record in reversed(records) if record.status.final]
        order += [record for record in records if record.status == Status.PENDING]
        shown = {record.trial.name for record in order[: max(rows, 1)]}
        return [record for record in records if record.trial.name in shown]

    @property
    def unfinished(self) -> list[TrialRecord]:
        """Trials that a resumed sweep must still run."""
        return [record for record in self.records.values() if not record.status.final]

    def values_of_key(self, key: str) -> tuple[Any, ...]:
        """The values of a varied key: those of its domain in their order; for a range, those that occurred."""
        if finite := self.plan.sweep.space[key].values:
            return finite
        return tuple(sorted({r.trial.assignment[key] for r in self.records.values() if key in r.trial.assignment}))

    def _losses(self, record: TrialRecord) -> tuple[float, ...]:
        """The means of the optimised metrics, with signs such that lower is better; empty if one is missing."""
        directions, summaries = self.plan.config.directions, [record.summary(m) for m in self.plan.metrics]
        signs = [1 if directions[metric] == "min" else -1 for metric in self.plan.metrics]
        known = [sign * s.mean for sign, s in zip(signs, summaries, strict=True) if s]
        return tuple(known) if len(known) == len(signs) else ()

    def _update(self, name: str, status: Status, reason: str) -> None:
        with self._changed:
            self.records[name].status, self.records[name].reason = status, reason
            self.version += 1
            self._changed.notify_all()
