"""Replays pruners on recorded full-length trials, without training.

Trials start in random order on asynchronous workers; each evaluation takes its recorded time.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from pydantic import ValidationError

from gramtune.components import Component, Direction, Pruner
from gramtune.errors import Issue, Path, SpecError
from gramtune.record.pruning import Rungs
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState, TrialRecord
from gramtune.registry import Named
from gramtune.space.issues import model_issues
from gramtune.space.pruner import NO_PRUNER
from gramtune.space.short_forms import expand_name

_Z = 1.959964
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Recording:
    """The replayable trials: completed, and evaluated at the same steps."""

    trials: dict[str, tuple[Report, ...]]
    """Every report of a trial, ordered by step."""
    metric: str
    direction: Direction
    eval_every: int
    left_out: tuple[str, ...] = ()
    """Numbers of trials that cannot be replayed, with reasons; one text per reason."""

    @property
    def steps(self) -> int:
        """Training steps of a whole trial."""
        return next(iter(self.trials.values()))[-1].step

    @property
    def best(self) -> str:
        """The trial with the best final mean."""
        return min(self.trials, key=self.loss)

    def loss(self, trial: str) -> float:
        """Final mean of the metric over replicates, signed so that lower is better."""
        values = [value for value in self.trials[trial][-1].metrics[self.metric] if value is not None]
        return fmean(values) if self.direction == "min" else -fmean(values)


class Interval(NamedTuple):
    """A 95 % interval of a share."""

    low: float
    high: float


@dataclass(frozen=True)
class Replay:
    """The outcome of one pruner on a recording, over random orders of arrival."""

    pruner: Pruner
    orders: int
    steps_saved: float
    """Share of training steps saved, mean over the orders."""
    time_saved: float
    """Share of wall time saved compared with the same workers and order without a pruner, mean over the orders."""
    best_lost: int
    """Number of orders in which the eventual best trial was stopped."""
    regret: float
    """Regret: how much worse the best unpruned trial is than the best of all, mean over the orders."""
    regret_std: float
    """Standard deviation of the regret over the orders; 0 for a single order."""

    @property
    def interval(self) -> Interval:
        """Wilson's interval of the probability that a random order loses the best trial."""
        return wilson(self.best_lost, self.orders)


class _Options(Component):
    """The command-line options of a pruner, as the section of a space file."""

    pruner: Annotated[Pruner, Named(Pruner, short=True, default="asha")]


def checked_pruner(written: Any, options: Mapping[str, float | None] = MappingProxyType({})) -> Pruner:
    """The pruner of a section of a space file, with the options that are given, by its fields' names.

    Raises SpecError with the command-line option of an illegal setting.
    """
    given = {key: value for key, value in options.items() if value is not None}
    section = {**expand_name(written), **given} if isinstance(written, str | dict) else written
    try:
        return _Options.model_validate({"pruner": section}).pruner
    except ValidationError as error:
        raise SpecError(model_issues(_Options, error, lambda path: _option(path, given))) from None


def _option(path: Path, given: Collection[str]) -> str:
    return f"--{path[-1]}".replace("_", "-") if path[-1] in given else "--pruner"


def panel(options: Mapping[str, float | None] = MappingProxyType({})) -> tuple[Pruner, ...]:
    """The pruners to compare where none is asked for, with the options that each has; noise-aware asha at 0.05."""
    rate = {"false_prune_rate": options.get("false_prune_rate") or 0.05}
    plain = {key: value for key, value in options.items() if key != "false_prune_rate"}
    of_all = {key: value for key, value in plain.items() if key != "reduction_factor"}
    return (
        NO_PRUNER,
        checked_pruner("asha", plain),
        checked_pruner("asha", {**plain, "promote": True}),
        checked_pruner("asha", {**plain, **rate}),
        checked_pruner("hyperband", plain),
        checked_pruner("median", of_all),
    )


def recording(state: SweepState, where: str, min_steps: int | None = None) -> Recording:
    """The replayable trials of a sweep: if evaluation steps, data, metrics or samples differ, the most common kind.

    Raises SpecError at `where` if fewer than two trials are left, or if they end before `min_steps`.
    """
    completed = [record for record in state.records.values() if record.status == Status.COMPLETED]
    kinds = [(_schedule(record), state.basis(record)) for record in completed]
    counts = Counter(kinds)
    kind = max(counts, key=lambda kind: (counts[kind], kind[0]), default=None)
    usable = [record for record, its in zip(completed, kinds, strict=True) if its == kind]
    usual = kind[0] if kind else ()
    left_out = tuple(_left_out(state, len(completed) - len(usable)))
    if len(usable) < 2:
        why = f" ({'; '.join(left_out)})" if left_out else ""
        rule = "a replay needs two COMPLETED trials with the same data, metrics, samples and steps"
        raise SpecError([Issue(where, f"{rule}, found {len(usable)}{why}")])
    if min_steps is not None and min_steps >= usual[-1]:
        raise SpecError([Issue("--min-steps", f"{min_steps} should be below {usual[-1]}, the steps of these trials")])
    config, metric = usable[0].trial.config, state.plan.metric
    trials = {record.trial.name: tuple(report for _, report in sorted(record.reports.items())) for record in usable}
    return Recording(trials, metric, config.directions[metric], config.judged_every, left_out)


def replay(record: Recording, pruner: Pruner, orders: int, workers: int, seed: int) -> Replay:
    """Replays the pruner on `orders` random orders of arrival, the same for every pruner."""
    rng = random.Random(seed)
    best = record.best
    steps, times, regrets, lost = [], [], [], 0
    for _ in range(orders):
        order = rng.sample(sorted(record.trials), len(record.trials))
        outcome, whole = _run(record, pruner, order, workers), _run(record, NO_PRUNER, order, workers)
        steps.append(1 - outcome.steps / whole.steps)
        times.append(1 - outcome.seconds / whole.seconds if whole.seconds else 0.0)
        regrets.append(min(record.loss(trial) for trial in outcome.survivors) - record.loss(best))
        lost += best not in outcome.survivors
    spread = stdev(regrets) if orders > 1 else 0.0
    return Replay(pruner, orders, fmean(steps), fmean(times), lost, fmean(regrets), spread)


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval of a binomial probability, 95 %: never empty, never outside [0, 1]."""
    share, z2 = successes / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


@dataclass(frozen=True)
class _Outcome:
    """The result of one order of arrival."""

    survivors: tuple[str, ...]
    """Trials that took all their steps, in their order of arrival; never empty: the best at a rung always continues."""
    steps: int
    seconds: float


class _Event(NamedTuple):
    """The next evaluation of a worker; `position` counts the reports of its trial. Ordered by time, then worker."""

    time: float
    worker: int
    trial: str
    position: int


def _run(record: Recording, pruner: Pruner, order: Sequence[str], workers: int) -> _Outcome:
    """Each worker takes the next trial and advances it one evaluation at a time until it ends, stops or pauses.

    A free worker takes a promoted trial first; then a new one.
    """
    rungs = Rungs(pruner, record.steps, record.eval_every, record.direction)
    waiting, free, now = list(order), list(range(workers)), 0.0
    reached = dict.fromkeys(order, -1)
    """The position of the last report of each trial; -1 before the first."""
    events: list[_Event] = []
    while True:
        while free and (trial := _next(rungs, record.metric, waiting, closed=not events)):
            after = reached[trial] + 1
            heapq.heappush(events, _Event(now + _duration(record, trial, after), free.pop(0), trial, after))
        if not events:
            break
        now, worker, trial, position = heapq.heappop(events)
        reached[trial], after = position, position + 1
        stopped = bool(rungs.decide(trial, record.trials[trial][position], record.metric))
        if not stopped and after < len(record.trials[trial]):
            heapq.heappush(events, _Event(now + _duration(record, trial, after), worker, trial, after))
        else:
            free.append(worker)
    survivors = tuple(trial for trial in order if reached[trial] == len(record.trials[trial]) - 1)
    return _Outcome(survivors, sum(record.trials[trial][reached[trial]].step for trial in order), now)


def _next(rungs: Rungs, metric: str, waiting: list[str], *, closed: bool) -> str:
    """The trial for a free worker; empty if there is none now."""
    trial = next(rungs.promotable(metric), "") or (waiting.pop(0) if waiting else "")
    trial = trial or (next(rungs.promotable(metric, closed=True), "") if closed else "")
    rungs.release(trial)
    return trial


def _duration(record: Recording, trial: str, position: int) -> float:
    """Seconds from one report of a trial to the next, or from its start to the first."""
    reports = record.trials[trial]
    before = reports[position - 1].seconds if position else 0.0
    return max(0.0, reports[position].seconds - before)


def _schedule(record: TrialRecord) -> tuple[int, ...]:
    """The steps at which a trial was evaluated."""
    return tuple(sorted(record.reports))


def _left_out(state: SweepState, others: int) -> Iterator[str]:
    statuses = Counter(record.status for record in state.records.values())
    for status, count in statuses.items():
        if status != Status.COMPLETED:
            yield f"{count} {status}"
    if others:
        yield f"{others} COMPLETED with other data, metrics, samples or steps"
