"""Resuming an existing sweep: the requested changes, and whether they are allowed.

Replicates, samples and budgets may grow, since existing results stay valid. Other changes would mix the results of two
sweeps in one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gramtune.record.report import Status
from gramtune.record.state import SweepState
from gramtune.space.sweep import Sweep

_GROWING = ("replicates", "search.samples", "budget.seconds", "budget.steps")
_WITHOUT_EFFECT = ("name", "about", "base.training.replicates")  # the last is `replicates` over again


class Change(NamedTuple):
    """A key whose value is no longer that of the stored sweep; None where it has none."""

    key: str
    stored: Any
    wanted: Any

    def __str__(self) -> str:
        key = self.key.removeprefix("base.")
        return f"{key} {_text(self.stored)} → {_text(self.wanted)}"


def changes(stored: Sweep, wanted: Sweep) -> list[Change]:
    """Every key that differs, apart from those that say nothing of what is trained."""
    ours, theirs = _flat(wanted.model_dump(mode="json")), _flat(stored.model_dump(mode="json"))
    keys = (key for key in {**theirs, **ours} if key not in _WITHOUT_EFFECT)
    return [Change(key, theirs.get(key), ours.get(key)) for key in keys if theirs.get(key) != ours.get(key)]


def refusals(state: SweepState, wanted: Sweep) -> list[str]:
    """Why the stored sweep, in this state, cannot continue as `wanted`: one line each, empty if it can."""
    found = changes(state.plan.sweep, wanted)
    mixed = [str(change) for change in found if change.key not in _GROWING]
    lines = [f"the sweep there is another one, and results are not mixed: {', '.join(mixed)}"] if mixed else []
    have, want = state.plan.sweep.replicates, wanted.replicates
    if want < have:
        lines.append(f"this sweep has {have} replicates; --replicates {want} cannot take any away")
    if want > have and wanted.scheduler.name != "none":
        lines.append("replicates cannot be added to a population: what its trials inherit depends on their replicates")
    if wanted.scheduler.name != "none" and wanted.search.samples != state.plan.sweep.search.samples:
        lines.append("trials cannot be added to a population: the others have gone on from each other's weights")
    if want > have and (left := len(state.unfinished)):
        lines.append(f"replicates are added to a finished sweep, and {left} of its trials are not finished")
    if want > have and any(record.status == Status.STOPPED for record in state.records.values()):
        lines.append("replicates are added to a finished sweep, and a budget has stopped this one: raise that first")
    if wanted.search.name != "grid" and wanted.search.samples < len(state.records):
        lines.append(f"this sweep has {len(state.records)} trials; --samples {wanted.search.samples} takes none away")
    return lines


def left_as_they_are(state: SweepState, wanted: Sweep) -> str:
    """One line that names the trials without further replicates; empty if there are none."""
    if wanted.replicates <= state.plan.sweep.replicates:
        return ""
    statuses = [r.status for r in state.records.values() if r.status in (Status.PRUNED, Status.FAILED)]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    return f"{counts}: given no further replicates, as they never came to their end" if counts else ""


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted keys; keys that are None (not given) are left out."""
    flat: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def _text(value: Any) -> str:
    return "(not given)" if value is None else str(value)
