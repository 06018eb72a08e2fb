"""Data for the page's script, which draws, sorts and filters trials; without scripts the page shows static figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from gramtune.analysis.labels import assignment_text, leaves, value_text
from gramtune.record.layout import sample_grids, trial_folder
from gramtune.record.state import SweepState, TrialRecord
from gramtune.report.figures.style import OKABE_ITO
from gramtune.report.page.embed import data_uri
from gramtune.report.text.summary import trial_tables

LIBRARY = "plotly-cartesian.min.js"
"""Plotly's bundle of cartesian charts, 1.5 MB, MIT licence: see vendor/README.md."""
_GRIDS, _GRID_BYTES = 12, 60_000
"""Most sample grids in the slider, and most bytes of one grid."""
_DECADE = 10.0


def explore_data(state: SweepState, folder: Path) -> dict[str, Any]:
    """The trials with values and curves, the varied keys, the tables, and sample grids of the best trial by step."""
    metric = state.plan.metric
    return {
        "metric": metric,
        "minimised": state.plan.config.directions[metric] == "min",
        "colours": OKABE_ITO,
        "keys": _keys(state),
        "trials": [_trial(state, record) for record in state.records.values()],
        "tables": [{"name": name, "header": rows[0], "rows": rows[1:]} for name, rows in trial_tables(state)],
        "grids": _grids(state, folder),
        "best": state.best.number if state.best else None,
    }


def as_script(data: dict[str, Any]) -> str:
    """JSON for a `<script type="application/json">`, escaped so that no text can end the element or start another."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def library() -> str:
    """Plotly's source, to be embedded in the page."""
    return (Path(__file__).parent / "vendor" / LIBRARY).read_text(encoding="utf-8")


def _keys(state: SweepState) -> list[dict[str, Any]]:
    keys = []
    for key, name in leaves(state.plan.sweep.space).items():
        values = [r.assignment[key] for r in state.records.values() if key in r.assignment]
        number = bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        wide = number and min(values) > 0 and max(values) >= _DECADE * min(values)
        log = bool(number and (wide or state.plan.sweep.space[key].log) and min(values) > 0)
        listed = [] if number else list(dict.fromkeys(map(value_text, state.values_of_key(key))))
        keys.append({"key": key, "name": name, "number": number, "log": log, "listed": listed})
    return keys


def _trial(state: SweepState, record: TrialRecord) -> dict[str, Any]:
    metric, assignment = state.plan.metric, record.assignment
    summary = record.summary(metric)
    cases = [
        str(assignment[key]) for key, domain in state.plan.sweep.space.items() if domain.cases and key in assignment
    ]
    curve = [
        [step, *(None if value is None else float(f"{value:.5g}") for value in report.metrics.get(metric, []))]
        for step, report in sorted(record.reports.items())
    ]
    mean, std = (summary.mean, summary.std) if summary else (None, None)
    return {
        "n": record.number,
        "text": assignment_text(assignment),
        "values": [_value(assignment.get(key)) for key in state.plan.sweep.space],
        "mean": mean if mean is not None and math.isfinite(mean) else None,
        "std": std if std is not None and math.isfinite(std) else None,
        "status": record.status.value,
        "method": " ".join(cases),
        "seed": record.trial.config.training.seed,
        "curve": curve,
    }


def _value(value: Any) -> Any:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return value if plain or value is None else value_text(value)


def _grids(state: SweepState, folder: Path) -> list[dict[str, Any]]:
    """At most `_GRIDS` sample grids of the best trial, evenly spaced, with the last; large files are skipped."""
    if state.best is None:
        return []
    files = sample_grids(trial_folder(folder, state.best.trial.name))
    steps = [step for step, file in sorted(files.items()) if file.stat().st_size <= _GRID_BYTES]
    chosen = (
        steps if len(steps) <= _GRIDS else [steps[round(i * (len(steps) - 1) / (_GRIDS - 1))] for i in range(_GRIDS)]
    )
    return [{"step": step, "uri": data_uri([files[step]])} for step in chosen]
