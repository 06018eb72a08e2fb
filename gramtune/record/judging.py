"""Selects the values of a trial that count: the last, the mean of the last few, or those of its best checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from gramtune.components import Direction
from gramtune.record.report import Report, summarise
from gramtune.space.judge import Judge

Values = list[float | None]
"""One value per replicate; None for a diverged one."""


def final_values(reports: Mapping[int, Report], metric: str, judge: Judge) -> Values:
    """The values of a trial that are ranked and reported; empty without a report.

    With `best`, the values of the best checkpoint on new samples at the end of training. An unfinished trial has none
    of these; then its newest values are used, not the best of several noisy values, which would be biased.
    """
    if not reports:
        return []
    last = reports[max(reports)]
    if isinstance(judge, Mapping):
        return _mean_of_last(reports, last.step, metric, judge["mean_of_last"])
    return list((judge == "best" and last.chosen.get(metric)) or last.metrics.get(metric, []))


def standing_values(
    reports: Mapping[int, Report], step: int, metric: str, judge: Judge, direction: Direction
) -> Values:
    """The values by which the pruner judges a trial after `step`, from its reports up to this step.

    With `best`, those of the report with the best mean so far.
    """
    if isinstance(judge, Mapping):
        return _mean_of_last(reports, step, metric, judge["mean_of_last"])
    if judge == "best":
        return best_standing(reports, step, metric, direction)
    return list(reports[step].metrics.get(metric, []))


def best_standing(reports: Mapping[int, Report], step: int, metric: str, direction: Direction) -> Values:
    """The values of the best report after step 0 and up to `step`; if there is none, those of the report at `step`."""
    sign = 1 if direction == "min" else -1
    rows = [reports[at].metrics.get(metric, []) for at in sorted(reports) if 0 < at <= step]
    means = [(sign * s.mean, row) for row in rows if (s := summarise(row))]
    return list(min(means, key=lambda pair: pair[0])[1] if means else reports[step].metrics.get(metric, []))


def _mean_of_last(reports: Mapping[int, Report], step: int, metric: str, k: int) -> Values:
    """The mean of each replicate over the last k reports up to `step`; untrained networks do not count."""
    past = [at for at in sorted(reports) if 0 < at <= step and reports[at].metrics.get(metric)][-k:] or [step]
    rows: list[Sequence[float | None]] = [reports[at].metrics.get(metric, []) for at in past]
    width = max(map(len, rows))
    columns = [[row[i] if i < len(row) else None for row in rows] for i in range(width)]
    means: Values = []
    for column in columns:
        known = [value for value in column if value is not None]
        means.append(fmean(known) if len(known) == len(column) else None)
    return means
