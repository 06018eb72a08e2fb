"""Computes the verdicts of a sweep: one per varied key and method, or the reason why there is none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gramtune.analysis.labels import count, leaves
from gramtune.analysis.robustness import no_axis
from gramtune.analysis.series import Axis, Series, axis_of
from gramtune.analysis.verdict import LEAST_REPLICATES, Finding, decide
from gramtune.components import Direction
from gramtune.record.report import Status
from gramtune.record.state import SweepState, TrialRecord

_NOT_IN_TAGS = re.compile(r"[^\w.-]+")
"""Characters that MLflow refuses in names of tags."""


@dataclass(frozen=True)
class KeyVerdict:
    """One method along one key."""

    key: str
    method: str
    """The name of the method; empty if it is the only one."""
    values: tuple[str, ...]
    """The tried values of the key, in order."""
    diverged: tuple[str, ...]
    """For each value a text such as `1 of 3 replicates diverged`; empty if none diverged."""
    trials: tuple[str, ...]
    """The trial of each value."""
    replicates: tuple[int, ...]
    """The number of replicates of each value; 0 if its trial was pruned, paused or failed."""
    losses: tuple[tuple[float, ...], ...]
    """The losses behind the finding: see `decide`; empty without a finding."""
    finding: Finding | None
    why: str
    """Why there is no verdict; empty if there is one."""


def verdicts(state: SweepState) -> list[KeyVerdict]:
    """The verdicts at the sweep's tolerance, one per varied key and method. Keys with `cases` have no verdict.

    If a trial is getting more replicates, only its finished replicates count. A row has no verdict if the sweep has
    several metrics, trials that are not comparable, or several sampled keys.
    """
    keys = [key for key, domain in state.plan.sweep.space.items() if not domain.cases]
    return [
        _verdict(state, key, axis, series) for key in keys for axis in [axis_of(state, key)] for series in axis.series
    ]


def verdict_tags(state: SweepState) -> dict[str, str]:
    """Tags `gramtune.verdict.critic_dim`: `SENSITIVE`; with several methods `gramtune.verdict.critic_dim.<method>`."""
    names = leaves(state.plan.sweep.space)
    return {
        _NOT_IN_TAGS.sub("-", f"gramtune.verdict.{names[row.key]}.{row.method}".rstrip(".")): row.finding.verdict.value
        for row in verdicts(state)
        if row.finding
    }


def verdict_bounds(state: SweepState) -> dict[str, float]:
    """Bounds of the relative loss of the worst value: `worst_loss_at_least/critic_dim` and `worst_loss_at_most/…`.

    0.1 means 10 % above the best value. Names are as in `verdict_tags`. Infinite bounds are left out.
    """
    names, found = leaves(state.plan.sweep.space), dict[str, float]()
    for row in verdicts(state):
        if row.finding:
            of = _NOT_IN_TAGS.sub("-", f"{names[row.key]}.{row.method}".rstrip("."))
            ends = {"least": float(row.finding.low.max()), "most": float(row.finding.high.max())}
            found |= {f"worst_loss_at_{end}/{of}": math.expm1(v) for end, v in ends.items() if math.isfinite(v)}
    return found


def losses_of(values: Sequence[float | None], direction: Direction) -> list[float]:
    """The losses that `decide` takes, of values above zero: their logarithms, smaller is better; ∞ where diverged."""
    sign = 1 if direction == "min" else -1
    return [math.inf if value is None else sign * math.log(value) for value in values]


def finished_values(record: TrialRecord, metric: str) -> list[float | None]:
    """The last value of each replicate. Empty for a pruned, paused or failed trial: some replicates have none."""
    return [] if record.status in (Status.PRUNED, Status.FAILED) else record.finished(metric)


def _verdict(state: SweepState, key: str, axis: Axis, series: Series) -> KeyVerdict:
    texts = tuple(place.text for place, _ in series.records)
    records = [record for _, record in series.records]
    metric = state.plan.metric
    whole = [finished_values(record, metric) for record in records]
    diverged = tuple(f"{lost} of {count(n, 'replicate')} diverged" if lost else "" for lost, n in map(_lost, whole))
    why = no_axis(state) or _why_not(state, series, whole)
    finding, losses = None, tuple[tuple[float, ...], ...]()
    if not why:
        losses = tuple(tuple(losses_of(values, state.plan.config.directions[metric])) for values in whole)
        finding = decide(losses, state.plan.sweep.tolerance)
    trials = tuple(record.trial.name for record in records)
    return KeyVerdict(key, series.label, texts, diverged, trials, tuple(map(len, whole)), losses, finding, why)


def _why_not(state: SweepState, series: Series, whole: list[list[float | None]]) -> str:
    records = [record for _, record in series.records]
    trials = count(len(records), "trial")
    if len(state.plan.metrics) > 1:
        return "a verdict is about one metric"
    if not state.comparable:
        return "the trials are not comparable"
    if not series.alone:
        return "other keys are sampled too, so no two trials differ only in this key"
    if unfinished := sum(not r.trained and (not r.status.final or r.status == Status.STOPPED) for r in records):
        return f"{unfinished} of {trials} not finished"
    if len(records) < 2:
        return "a single value has no range"
    known = [values for values in whole if values]
    if len(known) < 2:
        lost = sorted({r.status for r, values in zip(records, whole, strict=True) if not values})
        return f"{len(records) - len(known)} of {trials} {', '.join(lost)}: a verdict needs the last value of two"
    if all(value is None for values in known for value in values):
        return "every replicate diverged"
    if any(value is not None and value <= 0 for values in known for value in values):
        return f"a percentage of {state.plan.metric} needs values above zero"
    if (least := min(map(len, known))) < LEAST_REPLICATES:
        return f"it needs {LEAST_REPLICATES} replicates of every value, and there are {least} (--replicates 3)"
    if all(len({value for value in values if value is not None}) < 2 for values in known):
        return "no value has a spread between its replicates"
    return ""


def _lost(values: list[float | None]) -> tuple[int, int]:
    return sum(value is None for value in values), len(values)
