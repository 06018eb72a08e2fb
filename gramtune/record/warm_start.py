"""Reads trials of earlier sweeps or tables as observations for the sampler (`search.warm_start`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from gramtune.errors import Issue, SpecError
from gramtune.io import write_atomically
from gramtune.space.domain import Assignment, Domain, fitting, lookup
from gramtune.space.sweep import Sweep

WARM_START_FILE = "warm_start.json"
"""File in a sweep's folder: the observations at the start of the sweep."""
_TABLE, _SWEEP = "trials.csv", "sweep.yaml"


@dataclass(frozen=True)
class Observation:
    """One earlier trial: values of the varied keys, and the mean of the metric."""

    source: str
    assignment: Assignment
    value: float


@dataclass(frozen=True)
class WarmStart:
    """The observations of all sources, and notes for the user, one line each."""

    observations: tuple[Observation, ...]
    notes: tuple[str, ...]


def read_warm_start(sweep: Sweep, metric: str) -> WarmStart:
    """Reads the sources of a sweep: folders of sweeps, or CSV files with a column per varied key and the metric.

    Trials that are not COMPLETED, and values outside the sweep's domains, are left out; a note gives their number.
    Raises SpecError for a source that cannot be read, or that lacks a column.
    """
    observations: list[Observation] = []
    notes: list[str] = []
    issues: list[Issue] = []
    for source in sweep.search.warm_start:
        try:
            found = list(_rows(source, sweep, metric))
        except ValueError as error:
            issues.append(Issue("search.warm_start", f"{source}: {error}"))
            continue
        kept = [Observation(source, row, value) for row, value, _ in found if row is not None]
        observations += kept
        outside = (
            f", {len(found) - len(kept)} left out: outside the space of this sweep" if len(kept) < len(found) else ""
        )
        notes.append(f"warm start: {len(kept)} trials of {source}{outside}")
        notes += [f"warm start: {source} has {text}" for text in dict.fromkeys(t for *_, t in found if t)]
    if issues:
        raise SpecError(issues)
    return WarmStart(tuple(observations), tuple(notes))


def store_warm_start(found: WarmStart, folder: Path) -> None:
    """Stores the observations in the sweep's folder, because the sources may change or be deleted."""
    text = json.dumps([vars(observation) for observation in found.observations], indent=1)
    write_atomically(folder / WARM_START_FILE, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def stored_warm_start(folder: Path) -> tuple[Observation, ...]:
    """Reads what `store_warm_start` wrote; empty if the sweep had no warm start."""
    file = folder / WARM_START_FILE
    entries = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return tuple(Observation(**entry) for entry in entries)


def _rows(source: str, sweep: Sweep, metric: str) -> Iterator[tuple[Assignment | None, float, str]]:
    """For each trial: assignment (None outside the space), value, and how its noise differs from this sweep's."""
    path = Path(source)
    base = _base(path / _SWEEP) if path.is_dir() else {}
    try:
        frame = pd.read_csv(path / _TABLE if path.is_dir() else path)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot be read ({next(iter(str(error).splitlines()), type(error).__name__)})") from None
    values = _metric_column(frame, metric)
    always = [key for key, domain in sweep.space.items() if not domain.when]
    if missing := [key for key in always if key not in frame and lookup(base, key) is None]:
        raise ValueError(f"has no column {missing[0]!r}")
    for row, value in zip(frame.to_dict("records"), values, strict=True):
        if row.get("status", "COMPLETED") == "COMPLETED" and not pd.isna(value):
            yield _assignment(row, base, sweep), float(value), _differences(row, sweep)


def _metric_column(frame: pd.DataFrame, metric: str) -> pd.Series[Any]:
    """The column of values: `mean` in a table of trials, else the column with the metric's name."""
    if {"metric", "mean"} <= set(frame.columns):
        if others := sorted(set(frame["metric"]) - {metric}):
            raise ValueError(f"holds {', '.join(map(str, others))}, this sweep optimises {metric}")
        return frame["mean"]
    if metric not in frame:
        raise ValueError(f"has no column {metric!r}")
    return frame[metric]


def _assignment(row: Mapping[Any, Any], base: Mapping[str, Any], sweep: Sweep) -> Assignment | None:
    assignment: dict[str, Any] = {}
    for key, domain in sweep.space.items():
        if not domain.active(assignment, sweep.base):
            continue
        cell = row[key] if key in row else lookup(base, key)
        try:
            assignment[key] = _fitting(domain, cell)
        except ValueError:
            return None
    return assignment


def _fitting(domain: Domain, cell: Any) -> Any:
    """The value of the domain that a cell of a table shows. Raises ValueError if there is none."""
    if domain.values is not None:
        shown = [value for value in domain.values if value == cell or _shown(value) == str(cell)]
        if shown:
            return shown[0]
        raise ValueError(f"{cell!r} is not a value of the domain")
    number = float(cell)
    return fitting(domain, int(number) if domain.whole and number == int(number) else number)


def _shown(value: Any) -> str:
    """A value as tables write it."""
    return json.dumps(value) if isinstance(value, list | tuple | Mapping) else str(value)


def _differences(row: Mapping[Any, Any], sweep: Sweep) -> str:
    training = sweep.base["training"]
    here = {"n": sweep.replicates, "steps": training.get("steps"), "samples": training.get("eval_samples")}
    names = {"n": "replicates", "steps": "training steps", "samples": "generated samples"}
    found = [(key, row[key]) for key in here if key in row and not pd.isna(row[key])]
    return ", ".join(f"{value:g} {names[key]} (here {here[key]})" for key, value in found if value != here[key])


def _base(file: Path) -> Mapping[str, Any]:
    """The base of an earlier sweep: the values of keys that it did not vary."""
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    base = raw.get("base") if isinstance(raw, dict) else None
    return base if isinstance(base, dict) else {}
