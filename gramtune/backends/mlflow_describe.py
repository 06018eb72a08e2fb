"""What MLflow is told of a sweep, as plain values: points, tags and the description."""

from __future__ import annotations

import getpass
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gramtune.backends.mlflow_runs import Point
from gramtune.sweep.state import Report, Status, Summary, SweepState, TrialRecord, summarise


def report_points(report: Report) -> list[Point]:
    """`fid` (mean over replicates), `fid_std`, `fid/0`, `fid/1`, …, and the mean of each loss and trace."""
    values: dict[str, float | None] = {}
    for key, replicates in report.metrics.items():
        values |= {f"{key}/{i}": value for i, value in enumerate(replicates)}
        if summary := _summary(replicates):
            values |= {key: summary.mean, f"{key}_std": summary.std}
    for key, replicates in report.traces.items():
        if summary := _summary(replicates):
            values[key] = summary.mean
    milliseconds = report.timestamp * 1000
    known = ((key, value) for key, value in values.items() if value is not None and math.isfinite(value))
    return [Point(key, value, milliseconds, report.step) for key, value in known]


def best_points(state: SweepState) -> list[Point]:
    """`fid_best`: the best mean of the primary metric among the first i completed trials, at step i."""
    metric, pick = state.plan.metric, min if _minimised(state) else max
    completed = [record for record in state.records.values() if record.status == Status.COMPLETED]
    scored = [(r.last.timestamp, r.trial.name, s.mean) for r in completed if r.last and (s := r.summary(metric))]
    points: list[Point] = []
    for step, (seconds, _, mean) in enumerate(sorted(scored), start=1):
        best = pick(points[-1].value, mean) if points else mean
        points.append(Point(f"{metric}_best", best, seconds * 1000, step))
    return points


def trial_tags(status: str, reason: str, last: Report | None) -> dict[str, str]:
    """Status and reason, the generated samples and the replicates behind the newest values."""
    tags = {"gramtune.status": status, "gramtune.reason": reason}
    if last:
        tags["gramtune.samples"] = str(last.samples)
        live = max((sum(v is not None for v in values) for values in last.metrics.values()), default=0)
        total = max((len(values) for values in last.metrics.values()), default=0)
        tags["gramtune.replicates"] = f"{live} of {total}"
    return tags


def description(state: SweepState) -> str:
    """Markdown for the top of the sweep's page: what came out first, then what was asked."""
    sweep = state.plan.sweep
    counts = Counter(record.status for record in state.records.values())
    lines = [
        _best_line(state),
        ", ".join(f"{counts[status]} {status}" for status in Status if counts[status]),
        sweep.about,
        "Varied: " + "; ".join(f"`{key}`: {domain.describe()}" for key, domain in sweep.space.items()),
    ]
    return "\n\n".join(line for line in lines if line)


def identity_tags(versions: Mapping[str, Any]) -> dict[str, str]:
    """Who stores this, and from which source, with which versions and on what the sweep ran (see `versions`)."""
    packages = {"gramtune": versions["gramtune"], "python": versions["python"], **versions["packages"]}
    tags = {
        "mlflow.source.name": "gramtune",
        "mlflow.source.type": "LOCAL",
        "gramtune.versions": ", ".join(f"{name} {version}" for name, version in packages.items() if version),
        "gramtune.device": ", ".join(versions["gpus"]) or f"{versions['cpu']}, {versions['cores']} cores",
    }
    try:
        tags["mlflow.user"] = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        tags["mlflow.user"] = "unknown"
    if source := versions["source"]:
        tags |= {"mlflow.source.git.commit": source["commit"], "gramtune.source.dirty": str(source["dirty"])}
    return tags


def started(record: TrialRecord, now: float) -> int:
    """When the trial began, in milliseconds: from its first report, so that a later replay says the same."""
    if not record.reports:
        return int(now * 1000)
    first = record.reports[min(record.reports)]
    return int((first.timestamp - first.seconds) * 1000)


def _best_line(state: SweepState) -> str:
    best, metric = state.best, state.plan.metric
    if len(state.plan.metrics) == 2 and state.front:
        return f"**Pareto front** of {' and '.join(state.plan.metrics)}: " + "; ".join(
            record.trial.name for record in state.front
        )
    if best is None or best.last is None or (summary := best.summary(metric)) is None:
        return "No trial has completed yet."
    spread = f" ± {summary.std:.4g}" if summary.std is not None else ""
    return (
        f"**Best: {best.trial.name}**, {metric} {summary.mean:.4g}{spread} "
        f"({'lower' if _minimised(state) else 'higher'} is better; n = {summary.n} replicates, "
        f"{best.last.samples} samples each, step {best.last.step})"
    )


def _summary(replicates: Sequence[float | None]) -> Summary | None:
    return summarise([v if v is not None and math.isfinite(v) else None for v in replicates])


def _minimised(state: SweepState) -> bool:
    return state.plan.config.directions[state.plan.metric] == "min"
