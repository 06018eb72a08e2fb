"""The contents of MLflow's runs as plain values: points, tags and the description."""

from __future__ import annotations

import getpass
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gramtune.analysis.key_verdicts import verdict_bounds, verdicts
from gramtune.analysis.labels import joined, leaves
from gramtune.backends.mlflow.runs import Point
from gramtune.errors import count
from gramtune.record.report import Report, Status, Summary, summarise
from gramtune.record.state import SweepState, TrialRecord
from gramtune.space.plan import Plan, PlannedTrial, separable_gap

_SYMBOLS = {
    "objective.critic_dim": "K",
    "optimizer.learning_rate": "lr",
    "training.batch_size": "B",
    "network.noise_dim": "h",
}
"""Short symbols of the paper for keys in the names of runs; other keys are shortened to their last part."""


def run_name(trial: PlannedTrial) -> str:
    """The name of a run, `gram K=128 lr=1e-4`: the objective, then the varied values; a case by its name only."""
    bundles = [parameter_text(value) for key, value in trial.assignment.items() if "." not in key]
    objective = trial.config.objective.name
    if any(_letters(name).startswith(_letters(objective)) for name in bundles):
        objective = ""
    keys = [key for key in trial.assignment if "." in key and key != "objective.name"]
    short = {key: _SYMBOLS.get(key, key.rsplit(".", 1)[-1]) for key in keys}
    names = short if len(set(short.values())) == len(keys) else dict(zip(keys, keys, strict=True))
    values = [f"{names[key]}={parameter_text(trial.assignment[key])}" for key in keys]
    return " ".join([*filter(None, [objective]), *bundles, *values])


def parameter_text(value: Any) -> str:
    """A value as text: 16, 1e-4, 0.05, gram; lists and mappings as JSON. Numbers are rounded to four digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        text = f"{value:.4g}"
        if value != 0 and abs(value) < 0.01:
            mantissa, _, exponent = f"{value:.3e}".partition("e")
            text = f"{float(mantissa):g}e{int(exponent)}"
        return text
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def report_points(report: Report) -> list[Point]:
    """The points of a report: `fid` (mean over replicates), `fid_std`, `fid/replicate_0`, …, and means of losses and
    traces."""
    values: dict[str, float | None] = {}
    for key, replicates in report.metrics.items():
        values |= {f"{key}/replicate_{i}": value for i, value in enumerate(replicates)}
        if summary := _summary(replicates):
            values |= {key: summary.mean, f"{key}_std": summary.std}
    for key, replicates in report.traces.items():
        if summary := _summary(replicates):
            values[key] = summary.mean
    milliseconds = report.timestamp * 1000
    known = ((key, value) for key, value in values.items() if value is not None and math.isfinite(value))
    return [Point(key, value, milliseconds, report.step) for key, value in known]


def trial_params(trial: PlannedTrial) -> dict[str, Any]:
    """A run's parameters: those useful for filtering trials of several sweeps, and the varied values."""
    config = trial.config
    sections = ("data", "objective", "network", "optimizer")
    names = {f"{section}.name": getattr(config, section).name for section in sections}
    sizes = {f"training.{key}": getattr(config.training, key) for key in ("steps", "batch_size", "replicates")}
    return {**names, **sizes, **trial.assignment}


def best_points(state: SweepState) -> list[Point]:
    """The metric `fid_best`: the best mean of the primary metric among the trials completed so far.

    The step is the number of training steps of their replicates, summed. A finished sweep that gets more replicates or
    steps therefore gets new points; the store would not replace a value at a step that it has.
    """
    metric, pick = state.plan.metric, min if _minimised(state) else max
    completed = [record for record in state.records.values() if record.status == Status.COMPLETED]
    scored = [(r.last.timestamp, r.trial.name, r, s.mean) for r in completed if r.last and (s := r.summary(metric))]
    points: list[Point] = []
    step = 0
    for seconds, _, record, mean in sorted(scored, key=lambda row: row[:2]):
        step += record.steps_taken
        best = pick(points[-1].value, mean) if points else mean
        points.append(Point(f"{metric}_best", best, seconds * 1000, step))
    return points


def verdict_points(state: SweepState) -> list[Point]:
    """The metrics `worst_loss_at_least/critic_dim` and `…_at_most/…`; the step is the number of trained replicates."""
    seconds = max((record.last.timestamp for record in state.records.values() if record.last), default=0)
    step = sum(record.trained for record in state.records.values())
    return [Point(key, value, seconds * 1000, step) for key, value in verdict_bounds(state).items()]


def trial_tags(status: str, reason: str, last: Report | None) -> dict[str, str]:
    """Tags of a trial: status, reason, step, and the numbers of samples and replicates behind the newest values."""
    tags = {"gramtune.status": status, "gramtune.reason": reason}
    if last:
        tags["gramtune.step"] = str(last.step)
        tags["gramtune.samples"] = str(last.samples)
        live = max((sum(v is not None for v in values) for values in last.metrics.values()), default=0)
        total = max((len(values) for values in last.metrics.values()), default=0)
        tags["gramtune.replicates"] = f"{live} of {total}"
    return tags


def description(state: SweepState, figure: str = "") -> str:
    """Markdown for the top of the sweep's page: the best trial, the verdicts, the figure, then the question."""
    sweep = state.plan.sweep
    counts = Counter(record.status for record in state.records.values())
    lines = [
        _best_line(state),
        _verdict_line(state),
        figure,
        sweep.about,
        ", ".join(f"{counts[status]} {status}" for status in Status if counts[status]),
        "Varied: " + "; ".join(f"`{key}`: {domain.describe()}" for key, domain in sweep.space.items()),
    ]
    return "\n\n".join(line for line in lines if line)


def plan_text(plan: Plan) -> str:
    """The plan of the sweep as text: varied keys, trials, replicates, metric, search and resources."""
    sweep, training = plan.sweep, plan.config.training
    lines = [
        f"{sweep.name}: {sweep.about}".removesuffix(": "),
        *(f"  {key}: {domain.describe()}" for key, domain in sweep.space.items()),
        f"trials: {plan.size} × {sweep.replicates_text}, {training.steps} steps each",
        f"evaluated {training.schedule_text} with {training.eval_samples} samples",
        f"metric: {plan.metric} ({plan.config.directions[plan.metric]}imised)",
        f"search: {sweep.search.name}; pruner: {sweep.pruner.name}",
        f"resources per trial: {sweep.resources.cpu} CPU, {sweep.resources.gpu} GPU",
        f"resolution: {separable_gap(sweep.min_replicates):.2f} standard deviations over seeds",
        *(f"warning: {warning}" for warning in plan.warnings),
        *(f"trial: {trial.name}" for trial in plan.trials),
    ]
    return "\n".join(lines) + "\n"


def identity_tags(versions: Mapping[str, Any]) -> dict[str, str]:
    """Tags of the user, the source commit, the versions and the device of the sweep (see `versions`)."""
    packages = {"gramtune": versions["gramtune"], "python": versions["python"], **versions["packages"]}
    tags = {
        "mlflow.source.name": "gramtune",
        "mlflow.source.type": "LOCAL",
        "gramtune.versions": ", ".join(f"{name} {version}" for name, version in packages.items() if version),
        "gramtune.device": ", ".join(versions["gpus"]) or f"{versions['cpu']}, {versions['cores']} cores",
    }
    try:
        tags["mlflow.user"] = getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        tags["mlflow.user"] = "unknown"
    if source := versions["source"]:
        tags |= {"mlflow.source.git.commit": source["commit"], "gramtune.source.dirty": str(source["dirty"])}
    return tags


def started(record: TrialRecord, now: float) -> int:
    """Start time of the trial in milliseconds, computed from its first report, so that repeated calls agree."""
    if not record.reports:
        return int(now * 1000)
    first = record.reports[min(record.reports)]
    return int((first.timestamp - first.seconds) * 1000)


def _best_line(state: SweepState) -> str:
    best, metric = state.best, state.plan.metric
    if not state.comparable:
        return "No overall best: values with different data, metrics, samples or lengths are not comparable."
    if len(state.plan.metrics) > 1 and state.front:
        return f"**Pareto front** of {joined(state.plan.metrics)}: " + "; ".join(
            record.trial.name for record in state.front
        )
    if best is None or best.last is None or (summary := best.summary(metric)) is None:
        return "No trial has completed yet."
    spread = f" ± {summary.std:.4g}" if summary.std is not None else ""
    return (
        f"**Best: trial {best.number}, {run_name(best.trial)}**, {metric} {summary.mean:.4g}{spread} "
        f"({'lower' if _minimised(state) else 'higher'} is better; n = {count(summary.n, 'replicate')}, "
        f"{best.last.samples} samples each, step {best.last.step})"
    )


def _verdict_line(state: SweepState) -> str:
    """The verdicts in Markdown, `**critic_dim: SENSITIVE** within 10 %`, one per method; empty without verdicts."""
    names, within = leaves(state.plan.sweep.space), f"{100 * state.plan.sweep.tolerance:g} %"
    known = [(" ".join(filter(None, (names[row.key], row.method))), row.finding) for row in verdicts(state)]
    return "; ".join(f"**{name}: {finding.verdict}** within {within}" for name, finding in known if finding)


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _summary(replicates: Sequence[float | None]) -> Summary | None:
    return summarise([v if v is not None and math.isfinite(v) else None for v in replicates])


def _minimised(state: SweepState) -> bool:
    return state.plan.config.directions[state.plan.metric] == "min"
