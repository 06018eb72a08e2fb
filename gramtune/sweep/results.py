"""The files of a sweep's folder: its resolved definition, the versions that it ran with, and its result tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from gramtune.paths import write_atomically
from gramtune.sweep.plan import Plan
from gramtune.sweep.spec import Sweep
from gramtune.sweep.state import SweepState, TrialRecord
from gramtune.sweep.versions import versions
from gramtune.sweep.yaml_source import yaml_text

SWEEP_FILE, VERSIONS_FILE = "sweep.yaml", "versions.json"
_INT64 = 2**63
_RESULT_TYPES = {"replicate": "int64", "seed": "int64", "step": "int64", "value": "float64", "samples": "int64"}


def write_sweep(sweep: Sweep, folder: Path) -> None:
    """Writes `sweep.yaml`, base inline and overrides applied; `load_sweep` reads an equal Sweep from it."""
    resolved = sweep.model_dump(mode="json")
    if sweep.metric is None:
        del resolved["metric"]
    _write_text(folder / SWEEP_FILE, yaml_text(resolved))


def write_versions(plan: Plan, folder: Path) -> None:
    """Writes `versions.json`: see `versions`."""
    _write_text(folder / VERSIONS_FILE, json.dumps(versions(plan), indent=2, ensure_ascii=False) + "\n")


def write_tables(state: SweepState, folder: Path) -> None:
    """Writes results.parquet, results.csv, trials.parquet and trials.csv, each atomically."""
    for name, frame in (("results", results_frame(state)), ("trials", trials_frame(state))):
        write_atomically(folder / f"{name}.parquet", _parquet_writer(frame))
        write_atomically(folder / f"{name}.csv", _csv_writer(frame))


def results_frame(state: SweepState) -> pd.DataFrame:
    """Every metric value that there is: one row per (trial, replicate, step, metric).

    Columns: trial, each varied key, replicate, seed, step, metric, value, samples (generated ones behind the value).
    A replicate without a value, because it has diverged, has no row: `value` is never NaN.
    """
    columns = ["trial", "replicate", "seed", "step", "metric", "value", "samples"]
    rows = [row for record in state.records.values() for row in _values(record)]
    long = pd.DataFrame(rows, columns=columns).astype({"trial": "str", "metric": "str", **_RESULT_TYPES})
    return _with_varied(long, state)


def trials_frame(state: SweepState) -> pd.DataFrame:
    """One row per trial, in the order of the plan.

    Columns: trial, each varied key, status, reason, metric (the primary one), mean, std and n over the replicates that
    have a value in the newest report, samples behind each value, steps, seconds. Null where there is no value.
    """
    rows = [_trial_row(record, state.plan.metric) for record in state.records.values()]
    types = {"mean": "Float64", "std": "Float64", "n": "int64", "samples": "Int64", "steps": "int64"}
    frame = pd.DataFrame(rows).astype({**types, "seconds": "float64"})
    return _with_varied(frame, state)


def _values(record: TrialRecord) -> list[tuple[Any, ...]]:
    first = record.trial.config.training.seed
    return [
        (record.trial.name, replicate, first + replicate, report.step, metric, value, report.samples)
        for _, report in sorted(record.reports.items())
        for metric, values in report.metrics.items()
        for replicate, value in enumerate(values)
        if value is not None
    ]


def _trial_row(record: TrialRecord, metric: str) -> dict[str, Any]:
    last, summary = record.last, record.summary(metric)
    return {
        "trial": record.trial.name,
        "status": record.status.value,
        "reason": record.reason,
        "metric": metric,
        "mean": summary.mean if summary else None,
        "std": summary.std if summary else None,
        "n": summary.n if summary else 0,
        "samples": last.samples if last else None,
        "steps": last.step if last else 0,
        "seconds": last.seconds if last else 0.0,
    }


def _with_varied(frame: pd.DataFrame, state: SweepState) -> pd.DataFrame:
    """`frame` with one column per varied key put in after `trial`; empty where a trial does not have the key."""
    trials = [record.trial for record in state.records.values()]
    for position, key in enumerate(state.plan.sweep.space, start=1):
        having = [trial for trial in trials if key in trial.assignment]
        column = pd.Series(_uniform([t.assignment[key] for t in having]), index=[t.name for t in having])
        if len(having) < len(trials) and column.dtype == "int64":
            column = column.astype("Int64")  # keeps whole numbers whole beside an empty cell
        frame.insert(position, key, column.reindex(frame["trial"]).set_axis(frame.index))
    return frame


def _uniform(values: list[Any]) -> list[Any]:
    """The values of one key as one type that Parquet knows: all bool, int, float or str; anything else as JSON."""
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return [float(value) for value in values]
    if kinds in ({bool}, {str}, {float}) or (kinds == {int} and all(abs(value) < _INT64 for value in values)):
        return values
    return [json.dumps(value, ensure_ascii=False, sort_keys=True) for value in values]


def _parquet_writer(frame: pd.DataFrame) -> Callable[[Path], None]:
    return lambda path: frame.to_parquet(path, index=False)


def _csv_writer(frame: pd.DataFrame) -> Callable[[Path], None]:
    return lambda path: frame.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
