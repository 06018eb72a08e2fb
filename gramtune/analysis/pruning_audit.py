"""What early stopping did in a sweep, what it saved, and what is known of what it cost."""

from __future__ import annotations

from typing import NamedTuple

from gramtune.analysis.cost import start, taken
from gramtune.analysis.labels import assignment_text, count, number, percent
from gramtune.analysis.replay import Replay, panel, recording, replay
from gramtune.errors import SpecError
from gramtune.record.report import Status
from gramtune.record.state import SweepState

_ORDERS, _WORKERS, _MOST = 50, 4, 200
"""Random orders of arrival, trials at once, and trials beyond which the replay is left to its own command."""


class Stop(NamedTuple):
    """One trial that was stopped early."""

    trial: str
    step: int
    steps: int
    minute: float
    """Minutes after the sweep began."""
    reason: str


class Audit(NamedTuple):
    """The pruning of a sweep."""

    stops: tuple[Stop, ...]
    saved: int
    """Training steps not taken, all replicates together."""
    share: float
    """The same as a share of what the trials that began would have taken."""
    cost: str
    """What is known of the good trials that were lost."""
    replays: tuple[tuple[str, ...], ...]
    """Pruner, steps saved, best lost, regret: where full-length runs exist, of each pruner on these."""


def audit(state: SweepState) -> Audit:
    """The audit of a sweep so far."""
    stopped = [record for record in state.records.values() if record.status == Status.PRUNED and record.last]
    begun = [record for record in state.records.values() if record.last]
    first = min((start(record) for record in begun), default=0.0)
    stops = [
        Stop(
            assignment_text(record.trial.assignment),
            record.last.step,
            record.trial.config.training.steps,
            (record.last.timestamp - first) / 60,
            record.reason,
        )
        for record in stopped
        if record.last
    ]
    whole = sum(r.trial.config.training.steps * r.trial.config.training.replicates for r in begun)
    saved = sum(r.trial.config.training.steps * r.trial.config.training.replicates - taken(r) for r in stopped)
    cost, replays = _cost(state, pruned=bool(stopped))
    return Audit(tuple(stops), saved, saved / whole if whole else 0.0, cost, replays)


def _cost(state: SweepState, *, pruned: bool) -> tuple[str, tuple[tuple[str, ...], ...]]:
    if pruned:
        return (
            f"{_promise(state)}What it cost cannot be said: no stopped trial was trained to its end, and those that "
            "were are the ones the pruner liked. The same space with pruner none, then gramtune replay, would tell.",
            (),
        )
    try:
        recorded = recording(state, state.plan.sweep.name)
    except SpecError as error:
        return f"Nothing was stopped, and no pruner can be replayed: {error.issues[0].message}.", ()
    if len(recorded.trials) > _MOST:
        return f"Nothing was stopped. Of more than {_MOST} trials, gramtune replay tells what a pruner would do.", ()
    results = [replay(recorded, pruner, _ORDERS, _WORKERS, 0) for pruner in panel()]
    words = (
        f"Nothing was stopped, so every pruner can be replayed on the {count(len(recorded.trials), 'trial')} trained "
        f"to their end: {_ORDERS} random orders of arrival, {_WORKERS} trials at once."
    )
    return words, tuple(_row(result) for result in results if result.pruner.name != "none")


def _promise(state: SweepState) -> str:
    """What a false-prune rate bounds, and when; empty without one."""
    rate = state.plan.sweep.pruner.false_prune_rate
    if rate is None:
        return ""
    condition = "if the trials before it have shown how far a seed can go astray (docs/pruning.md)"
    return f"The best in truth is stopped with probability {rate:g} at most, {condition}. "


def _row(result: Replay) -> tuple[str, ...]:
    low, high = result.interval
    aware = "" if result.pruner.false_prune_rate is None else f", noise-aware {result.pruner.false_prune_rate:g}"
    return (
        result.pruner.name + aware,
        percent(result.steps_saved),
        f"{result.best_lost} of {result.orders} ({100 * low:.0f} to {percent(high)})",
        number(result.regret),
    )
