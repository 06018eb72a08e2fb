"""Writes files of a sweep's folder: its resolved definition, the versions that it ran with, and its result tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gramtune.errors import Issue, SpecError
from gramtune.io import write_atomically
from gramtune.record.provenance import uncommitted_diff
from gramtune.record.state import SweepState, TrialRecord
from gramtune.record.versions import versions
from gramtune.space.domain import Assignment, Domain
from gramtune.space.plan import Plan
from gramtune.space.sweep import Sweep
from gramtune.space.yaml_reader import yaml_text

SWEEP_FILE, VERSIONS_FILE, DIFF_FILE = "sweep.yaml", "versions.json", "source.diff"
_INT64 = 2**63
_RESULT_TYPES = {
    **{"trial": "str", "replicate": "int64", "seed": "int64", "step": "int64"},
    **{"metric": "str", "value": "float64", "samples": "int64"},
}
_TRIAL_TYPES = {
    **{
        "number": "int64",
        "trial": "str",
        "status": "str",
        "reason": "str",
        "metric": "str",
        "mean": "Float64",
        "std": "Float64",
    },
    **{"n": "int64", "samples": "Int64", "steps": "int64", "seconds": "float64"},
}
_FURTHER = ("second", "third", "fourth", "fifth", "sixth")
"""Column prefixes of the second metric to the sixth, the last one that `MOST_METRICS` allows."""
_FURTHER_TYPES = {"metric": "str", "mean": "Float64", "std": "Float64", "n": "int64"}
_NULLABLE = {"int64": "Int64", "float64": "Float64", "bool": "boolean", "str": "str"}


def write_sweep(sweep: Sweep, folder: Path) -> None:
    """Writes `sweep.yaml` with the base inline and overrides applied; `load_sweep` reads an equal Sweep from it."""
    resolved = sweep.model_dump(mode="json")
    if sweep.metric is None:
        del resolved["metric"]
    if not sweep.plugins:
        del resolved["plugins"]
    _write_text(folder / SWEEP_FILE, yaml_text(resolved))


def write_versions(plan: Plan, folder: Path) -> None:
    """Writes `versions.json` (see `versions`), and beside it `source.diff` if the code has uncommitted edits."""
    if difference := uncommitted_diff():
        _write_text(folder / DIFF_FILE, difference)
    _write_text(folder / VERSIONS_FILE, json.dumps(versions(plan), indent=2, ensure_ascii=False) + "\n")


def read_versions(folder: Path) -> dict[str, Any]:
    """Reads what `write_versions` wrote; empty if the file is missing."""
    file = folder / VERSIONS_FILE
    try:
        found = json.loads(file.read_bytes()) if file.is_file() else {}
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        line = getattr(error, "lineno", 1)
        message = f"cannot be read ({error}); delete the file, and the sweep resumes without a comparison of versions"
        raise SpecError([Issue(f"{file}:{line}", message)]) from None
    return found


def write_tables(state: SweepState, folder: Path, trials: pd.DataFrame) -> None:
    """Writes results.parquet, results.csv, trials.parquet and trials.csv, each atomically.

    `trials`: `trials_frame`, with further columns.
    """
    frames = {"results": results_frame(state), "trials": trials}
    if state.plan.sweep.is_population:
        frames["lineage"] = lineage_frame(state)
    for name, frame in frames.items():
        write_atomically(folder / f"{name}.parquet", parquet_writer(frame))
        write_atomically(folder / f"{name}.csv", csv_writer(frame))


def results_frame(state: SweepState) -> pd.DataFrame:
    """Every metric value: one row per (trial, replicate, step, metric).

    Columns: trial, each varied key, replicate, seed, step, metric, value, samples (number of generated samples).
    A diverged replicate has no row: `value` is never NaN.
    """
    rows = [row for record in state.records.values() for row in _values(record)]
    frame = pd.DataFrame(rows, columns=list(_RESULT_TYPES)).astype(_RESULT_TYPES)
    at = [state.records[name].assignment_at(step) for name, step in zip(frame["trial"], frame["step"], strict=True)]
    return _with_varied(frame, state, at)


def trials_frame(state: SweepState) -> pd.DataFrame:
    """One row per trial, in the order of the plan or of sampling.

    Columns: number (7 in `--trial 7`), trial, each varied key, status, reason, metric (the primary one), mean, std and
    n over the replicates that have a value in the newest report, samples per value, steps, seconds. A missing value is
    null.
    For two metrics also second_metric, second_mean, second_std, second_n and front (whether the trial is on the Pareto
    front); third_metric, … for three.
    """
    records, (first, *others) = state.records.values(), state.plan.metrics
    rows = [_trial_row(record, first) for record in records]
    types = dict(_TRIAL_TYPES)
    for prefix, metric in zip(_FURTHER, others, strict=False):
        types |= {f"{prefix}_{column}": kind for column, kind in _FURTHER_TYPES.items()}
        for row, record in zip(rows, records, strict=True):
            row |= _further(record, metric, prefix)
    if others:
        names = {record.trial.name for record in state.front}
        types["front"] = "bool"
        for row, record in zip(rows, records, strict=True):
            row["front"] = record.trial.name in names
    return _with_varied(pd.DataFrame(rows, columns=list(types)).astype(types), state, [r.assignment for r in records])


def lineage_frame(state: SweepState) -> pd.DataFrame:
    """The inheritances of population-based training: one row per trial and inheritance, ordered by step.

    Columns: trial, each varied key with its new value, step, parent.
    """
    found = [(i.step, name, i) for name, record in state.records.items() for i in record.inherited]
    rows = [(name, step, i.parent) for step, name, i in sorted(found)]
    frame = pd.DataFrame(rows, columns=["trial", "step", "parent"])
    frame = frame.astype({"trial": "str", "step": "int64", "parent": "str"})
    return _with_varied(frame, state, [i.assignment for _, _, i in sorted(found)])


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
        "number": record.number,
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


def _further(record: TrialRecord, metric: str, prefix: str) -> dict[str, Any]:
    summary = record.summary(metric)
    return {
        f"{prefix}_metric": metric,
        f"{prefix}_mean": summary.mean if summary else None,
        f"{prefix}_std": summary.std if summary else None,
        f"{prefix}_n": summary.n if summary else 0,
    }


def _with_varied(frame: pd.DataFrame, state: SweepState, assignments: Sequence[Assignment]) -> pd.DataFrame:
    """`frame` with one column per varied key after `trial`; null if an assignment does not have the key."""
    taken, names = set(frame.columns), list(frame.columns)
    for position, (key, domain) in enumerate(state.plan.sweep.space.items(), start=names.index("trial") + 1):
        dtype, encode = _column_type(domain)
        cells = [encode(assignment[key]) if key in assignment else None for assignment in assignments]
        column = pd.Series(cells, index=frame.index, dtype=_NULLABLE[dtype] if None in cells else dtype)
        # A key of the sweep may have the name of one of our columns, for example `metric`.
        frame.insert(position, f"space.{key}" if key in taken else key, column)
    return frame


def _column_type(domain: Domain) -> tuple[str, Callable[[Any], Any]]:
    """The column type for every value of the domain, and the conversion of a value to it.

    bool, int, float or str if all values have that type; float for a mixture of int and float; otherwise JSON text.
    """
    if domain.values is None:
        return ("int64", int) if domain.whole else ("float64", float)
    kinds = {type(value) for value in domain.values}
    if kinds in ({bool}, {str}):
        return ("bool", bool) if kinds == {bool} else ("str", str)
    if kinds <= {int, float} and all(abs(value) < _INT64 for value in domain.values):
        return ("int64", int) if kinds == {int} else ("float64", float)
    return "str", _json


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def parquet_writer(frame: pd.DataFrame) -> Callable[[Path], None]:
    """Writes the frame to a path as Parquet."""
    return lambda path: frame.to_parquet(path, index=False)


def csv_writer(frame: pd.DataFrame) -> Callable[[Path], None]:
    """Writes the frame to a path as CSV."""
    return lambda path: frame.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
