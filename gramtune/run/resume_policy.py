"""Decides which changes of an existing sweep are allowed when it is resumed.

Replicates, samples, training steps, budgets and the values of a grid may grow, because existing results stay valid.
Other changes would mix the results of two sweeps in one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gramtune.errors import count
from gramtune.record.report import Status
from gramtune.record.state import SweepState, TrialRecord
from gramtune.run.population import growth_refusals
from gramtune.space.domain import Domain
from gramtune.space.sweep import Sweep

_STEPS = "base.training.steps"
_GROWING = (
    *("replicates", "replicates.min", "replicates.max", "replicates.until"),
    *("search.samples", "budget.seconds", "budget.steps", _STEPS),
)
_EVEN = "steps should have been a multiple of training.eval_every"
_WITHOUT_EFFECT = ("name", "about", "base.training.replicates")  # the last repeats `replicates`


@dataclass(frozen=True)
class Change:
    """A key whose requested value differs from that of the stored sweep; None stands for no value."""

    key: str
    stored: Any
    wanted: Any

    def __str__(self) -> str:
        key = self.key.removeprefix("base.")
        return f"{key} {_text(self.stored)} → {_text(self.wanted)}"


def changes(stored: Sweep, wanted: Sweep) -> list[Change]:
    """Every key that differs, except those that do not affect training."""
    ours, theirs = _flat(wanted.model_dump(mode="json")), _flat(stored.model_dump(mode="json"))
    keys = (key for key in {**theirs, **ours} if key not in _WITHOUT_EFFECT)
    return [Change(key, theirs.get(key), ours.get(key)) for key in keys if theirs.get(key) != ours.get(key)]


def refusals(state: SweepState, wanted: Sweep) -> list[str]:
    """Why the stored sweep, in this state, cannot continue as `wanted`: one line each, empty if it can."""
    found = changes(state.plan.sweep, wanted)
    wider = _is_wider(state.plan.sweep, wanted)
    kept = [change for change in found if change.key in _GROWING or (wider and change.key.startswith("space."))]
    mixed = [str(change) for change in found if change not in kept]
    lines = [f"the folder holds a different sweep, and results are not mixed: {', '.join(mixed)}"] if mixed else []
    have, want = state.plan.sweep.min_replicates, wanted.min_replicates
    if want < have:
        lines.append(f"this sweep has {have} replicates; --replicates {want} cannot remove any")
    lines += growth_refusals(state.plan.sweep, wanted, wider=any(change.key.startswith("space.") for change in kept))
    if not mixed and any(change.key == _STEPS for change in found):
        lines += _obstacles_to_steps(state, wanted)
    if want > have and (left := len(state.unfinished)):
        lines.append(
            f"replicates can only be added to a finished sweep; {left} of its trials are not finished; "
            "resume the sweep without --replicates first"
        )
    if want > have and any(record.status == Status.STOPPED for record in state.records.values()):
        lines.append(
            "replicates can only be added to a finished sweep; a budget has stopped this one; "
            "resume it with a larger budget first"
        )
    if wanted.search.name != "grid" and wanted.search.samples < len(state.records):
        lines.append(
            f"this sweep has {count(len(state.records), 'trial')}; --samples {wanted.search.samples} cannot remove any"
        )
    return lines


def left_as_they_are(state: SweepState, wanted: Sweep, retry_failed: bool = False) -> str:
    """One line that names the trials without further replicates; empty if there are none."""
    if wanted.min_replicates <= state.plan.sweep.min_replicates:
        return ""
    left = (Status.PRUNED, Status.PAUSED, *(() if retry_failed else (Status.FAILED,)))
    statuses = [r.status for r in state.records.values() if r.status in left]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    return f"{counts}: get no further replicates, because they did not finish training" if counts else ""


def _is_wider(stored: Sweep, wanted: Sweep) -> bool:
    """Whether the grid of `wanted` contains every trial of the stored grid under the same name."""
    if stored.search.name != "grid" or list(stored.space) != list(wanted.space):
        return False
    return all(_has_all(wanted.space[key], domain) for key, domain in stored.space.items())


def _has_all(wider: Domain, domain: Domain) -> bool:
    if wider.when != domain.when:
        return False
    if domain.grid is not None and wider.grid is not None:
        return all(value in wider.grid for value in domain.grid)
    if domain.cases is not None and wider.cases is not None:
        return all(wider.cases.get(name) == bundle for name, bundle in domain.cases.items())
    return False


def _obstacles_to_steps(state: SweepState, wanted: Sweep) -> list[str]:
    """Reasons why longer trials would differ from those of a sweep with this number of steps from the start."""
    lines = [line for record in state.records.values() for line in _obstacles_of(record, wanted)]
    if wanted.is_population or wanted.pruner.depends_on_length:
        name = wanted.scheduler.name if wanted.is_population else wanted.pruner.name
        lines.append(f"training.steps cannot grow with {name}, because its decisions depend on the number of steps")
    if wanted.min_replicates > state.plan.sweep.min_replicates:
        lines.append("training.steps and replicates cannot grow at once; add the steps first, then the replicates")
    if any(len(record.parts) > 1 for record in state.records.values()):
        lines.append("training.steps cannot grow after replicates were added, because these have separate checkpoints")
    return list(dict.fromkeys(lines))


def _obstacles_of(record: TrialRecord, wanted: Sweep) -> Iterator[str]:
    new = wanted.config(record.trial.assignment)
    have, want = record.trial.config.training, new.training
    if have.steps == want.steps:
        return
    change = f"training.steps {have.steps} → {want.steps}"
    if want.steps < have.steps:
        yield f"{change}: steps cannot be removed"
    elif record.reports and (late := [m.name for m in new.metrics if m.every and have.steps % m.every]):
        yield f"{change}: {', '.join(late)} was computed after step {have.steps}; longer trials do not compute it there"
    elif record.reports and (missing := sorted({*have.evaluations} - {*want.evaluations})):
        yield f"{change}: the trials were evaluated after step {missing[-1]}; longer trials are not; {_EVEN}"
    for field, schedule in (("schedule", new.optimizer.schedule), ("critic_schedule", new.optimizer.critic_schedule)):
        if schedule is not None and schedule.whole_length:
            yield f"{change}: optimizer.{field} has no `steps`, so its rates depend on training.steps"


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
