"""Requests from another terminal to a sweep: files in its folder that the driver polls between two reports."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gramtune.errors import Issue, SpecError, did_you_mean
from gramtune.io import write_atomically
from gramtune.record.object_store import store_of
from gramtune.record.report import Status
from gramtune.record.state import SweepState
from gramtune.space.domain import fitting
from gramtune.space.plan import planned
from gramtune.space.yaml_reader import parse_value

_FOLDER = "requests"


def ask_to_stop(state: SweepState, folder: Path, trial: str) -> str:
    """Asks the driver to stop a trial, by name or number; returns its name. Raises SpecError if that is impossible."""
    by_number = {str(record.number): name for name, record in state.records.items()}
    name = trial if trial in state.records else by_number.get(trial, "")
    if not name:
        raise SpecError(
            [Issue("--trial", f"{trial!r} is not a trial of this sweep" + did_you_mean(trial, state.records))]
        )
    if (status := state.records[name].status).final and status != Status.PAUSED:
        raise SpecError([Issue("--trial", f"{name} has ended: {status}")])
    _ask(state, folder, {"stop": name})
    return name


def ask_for(state: SweepState, folder: Path, settings: Sequence[str]) -> str:
    """Asks the driver for a trial with these values (`key=value`); returns its name.

    Raises SpecError with all issues for wrong keys or values, and for a grid, whose trials are fixed.
    """
    if state.plan.sweep.search.name == "grid":
        raise SpecError([Issue(str(folder), "the trials of a grid are fixed; add values with: gramtune resume --add")])
    space = state.plan.sweep.space
    assignment: dict[str, Any] = {}
    issues: list[Issue] = []
    given = dict(setting.partition("=")[::2] for setting in settings)
    for key in given.keys() - space.keys():
        issues.append(Issue(key, "is not varied by this sweep" + did_you_mean(key, space)))
    for key, domain in space.items():
        if not domain.active(assignment, state.plan.sweep.base):
            continue
        try:
            if key not in given:
                raise ValueError("needs a value: key=value for every varied key")
            assignment[key] = fitting(domain, parse_value(given[key]))
        except ValueError as error:
            issues.append(Issue(key, str(error)))
    if issues:
        raise SpecError(issues)
    trial = planned(state.plan.sweep, assignment)
    if trial.name in state.records:
        raise SpecError([Issue(trial.name, "is already a trial of this sweep")])
    _ask(state, folder, {"enqueue": assignment})
    return trial.name


def consume(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yields the requests in order and deletes each."""
    for file in sorted((folder / _FOLDER).glob("[0-9]*.json")):
        request = json.loads(file.read_text(encoding="utf-8"))
        file.unlink()
        yield request


def _ask(state: SweepState, folder: Path, request: Mapping[str, Any]) -> None:
    if store_of(folder).runs:
        raise SpecError([Issue(str(folder), "a sweep in an object store does not support requests")])
    if state.plan.sweep.is_population:
        raise SpecError(
            [Issue(str(folder), "population-based training does not support requests: its trials depend on each other")]
        )
    file = folder / _FOLDER / f"{time.time_ns():020d}.json"
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, lambda temporary: temporary.write_text(json.dumps(request), encoding="utf-8"))
