"""Early stopping: collects the trials' reports, and asks the pruner whether a trial at a rung continues.

It runs on the driver. Nothing is stored: after a resume the rungs are rebuilt from the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import takewhile

from gramtune.components import Course, Direction, Pruner, Rung, Scores, mean_score
from gramtune.record.noise_aware import surely_worse
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState
from gramtune.space.plan import measured_by


class Rungs:
    """The decisions of one pruner over a sweep.

    Only trials with the same `kind` are compared: their values have the same data, metrics and number of samples.

    A trial with a diverged replicate can be stopped, but others are no longer compared with it: see `Rung`.

    Usually a trial is compared with those that reached the rung before it. With `order` it is compared with those
    before it in that order, using their results up to the same step, so that the order of arrival does not matter.

    A pruner that pauses trials is asked again, see `promotable`: then timing does not matter in a synchronous search,
    in which trials are promoted only when none is training.

    With a false-prune rate α a trial is stopped only if another one is significantly better: see `surely_worse`.
    """

    def __init__(
        self,
        pruner: Pruner,
        max_steps: int,
        eval_every: int,
        direction: Direction,
        order: Callable[[], Iterable[str]] | None = None,
        kind: Callable[[str], object] = lambda trial: None,
    ) -> None:
        self._pruner, self._course, self._direction = pruner, Course(max_steps, eval_every), direction
        self._curves: dict[str, dict[int, Scores]] = {}
        """The scores of each trial by step, at evaluations on the grid."""
        self._reached: dict[int, dict[str, Scores]] = {}
        self._completed: set[str] = set()
        self._stopped: dict[str, int] = {}
        self._diverged: dict[str, int] = {}
        """The step at which a diverged replicate of a trial was first reported, by trial."""
        self._order, self._kind = order, kind

    @classmethod
    def of(cls, state: SweepState) -> Rungs:
        """The rungs of a sweep, with all reports so far."""
        config = state.plan.config
        direction = config.directions[state.plan.metric]
        pruner = state.plan.sweep.pruner
        order = (lambda: state.records) if state.plan.sweep.search.synchronous and not pruner.pauses else None
        rungs = cls(pruner, config.training.steps, config.judged_every, direction, order, _kinds(state))
        for name, record in state.records.items():
            if pruner.pauses and record.status in (Status.STOPPED, Status.FAILED):
                continue  # see `forget`
            for report in record.reports.values():
                standing = record.standing(report, state.plan.metric)
                rungs._note(name, _first(standing, state.plan.sweep.min_replicates), state.plan.metric)
            whole = record.last and record.last.replicates == record.trial.config.training.replicates
            if record.last and (record.status == Status.PRUNED or (record.status == Status.PAUSED and whole)):
                rungs._stopped[name] = record.last.step
        return rungs

    def steps(self, trial: str) -> Sequence[int]:
        """Training steps at which the pruner decides on the trial; all are evaluations."""
        return self._pruner.steps(trial, self._course)

    def reached(self, step: int) -> Mapping[str, Scores]:
        """The scores at a rung of all trials that have reached it, in order of arrival."""
        return self._reached.get(step, {})

    def decide(self, trial: str, report: Report, metric: str) -> str:
        """The reason to stop or pause the trial now; empty if it continues."""
        if not self._note(trial, report, metric):
            return ""
        pruner, reason = self._pruner, ""
        if pruner.pauses:
            reason = pruner.rule
        elif reason := self._reason(self._rung(trial, report.step, metric)):
            rate = pruner.false_prune_rate
            reason += "" if rate is None else f", by more than chance (false-prune rate {rate:g})"
        if not reason:
            return ""
        self._stopped[trial] = report.step
        return f"{pruner.name} at step {report.step}: {reason}"

    def promotable(self, metric: str, *, closed: bool = False) -> Iterator[str]:
        """The paused trials that may continue: those of the highest rung first, and the best of a rung first.

        `closed`: no trial is training, and no new one will come. Then only those of the lowest rung that has any,
        because they will reach the next one.
        """
        for step in sorted(set(self._stopped.values()), reverse=not closed) if self._pruner.pauses else ():
            reached, some, settled = self._reached[step], False, set()
            paused = [trial for trial, at in self._stopped.items() if at == step]
            for trial in sorted(paused, key=lambda name: (mean_score(reached[name]), name)):
                if self._kind(trial) in settled:
                    continue
                if not self._reason(replace(self._rung(trial, step, metric), closed=closed)):
                    some = True
                    yield trial
                elif self._pruner.false_prune_rate is None:
                    settled.add(self._kind(trial))  # the others of its kind are worse
            if some and closed:
                return

    def release(self, trial: str) -> None:
        """A paused trial was promoted."""
        self._stopped.pop(trial, None)

    def forget(self, trial: str) -> None:
        """A trial failed or was stopped. If the pruner pauses trials, the next one takes its place at the rungs."""
        if self._pruner.pauses:
            self.release(trial)
            for reached in self._reached.values():
                reached.pop(trial, None)

    def _reason(self, rung: Rung) -> str:
        """The pruner's reason to stop the trial; empty if it has none, or if the noise-aware rule forbids it."""
        reason, rate = self._pruner.stops(rung), self._pruner.false_prune_rate
        return reason if reason and (rate is None or self.beyond_chance(rung, rate)) else ""

    def beyond_chance(self, rung: Rung, rate: float) -> bool:
        """Whether some other trial at the rung is significantly better, by paired t tests corrected for all N others.

        Suppose the trial is truly the best: better, in expectation over seeds, than each of the N others. Each test
        errs with probability α/(N·rungs), so the trial is stopped at any of its rungs with probability at most α, for
        any dependence between the tests (Bonferroni). One significant rival is enough; this number is fixed in advance,
        because a number chosen from the data would need a further correction. N includes trials stopped earlier.
        """
        before = self._before(rung.trial, self._stopped)
        rivals = len(rung.reached) - 1 + sum(self._stopped.get(name, rung.step) < rung.step for name in before)
        tests = max(1, rivals) * len(self.steps(rung.trial))
        return surely_worse(rung, rate / tests)

    def _note(self, trial: str, report: Report, metric: str) -> bool:
        """Stores a report; returns False if the pruner does not decide at its step."""
        values, final = report.metrics.get(metric, []), report.status.final
        if any(report.diverged) or None in values:
            self._diverged[trial] = min(report.step, self._diverged.get(trial, report.step))
        if report.status == Status.COMPLETED:
            self._completed.add(trial)
        if all(value is None for value in values):
            return False
        scores = [None if value is None else self._sign * value for value in values]
        if final or report.step % self._course.every == 0:
            self._curves.setdefault(trial, {})[report.step] = scores
        if final or report.step not in self.steps(trial):
            return False
        self._reached.setdefault(report.step, {})[trial] = scores
        return True

    @property
    def _sign(self) -> float:
        return 1.0 if self._direction == "min" else -1.0

    def _rung(self, trial: str, step: int, metric: str) -> Rung:
        """The rung of a trial with the trials that it is compared with."""
        reached, fixed = self._reached[step], self._order is not None
        rivals = [name for name in self._before(trial, reached) if name in reached and not self._lost(name, step)]
        known = [name for name in self._before(trial, self._curves) if not self._lost(name, step)]
        at_step = {name: reached[name] for name in (*rivals, trial)}
        curves = {name: self._curves[name] for name in (*known, trial) if name in self._curves}
        if fixed:
            curves = {name: {at: s for at, s in curve.items() if at <= step} for name, curve in curves.items()}
        completed = () if fixed else self._completed.intersection(curves)
        return Rung(trial, step, metric, self._direction, at_step, curves, completed)

    def _before(self, trial: str, arrived: Iterable[str]) -> list[str]:
        """The other comparable trials that have arrived; with a fixed order, all of them before this one."""
        names = arrived if self._order is None else takewhile(lambda name: name != trial, self._order())
        kind = self._kind(trial)
        return [name for name in names if name != trial and self._kind(name) == kind]

    def _lost(self, trial: str, step: int) -> bool:
        """Whether a replicate of the trial diverged; in a synchronous search, at this step or before."""
        return trial in self._diverged and (self._order is None or self._diverged[trial] <= step)


def _kinds(state: SweepState) -> Callable[[str], object]:
    """What a trial's values are computed from, as a number. At the same step, longer trials are comparable too."""
    numbers: dict[object, int] = {}

    @cache
    def kind(trial: str) -> int:
        return numbers.setdefault(measured_by(state.records[trial].trial.config, state.plan.metrics), len(numbers))

    return kind


def _first(report: Report, replicates: int) -> Report:
    """The report reduced to the common number of replicates; replicates added only to open values are left out."""
    metrics = {key: values[:replicates] for key, values in report.metrics.items()}
    return replace(report, metrics=metrics, diverged=report.diverged[:replicates])
