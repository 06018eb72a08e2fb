"""Reports what pruning did in a sweep: the pruned trials, the savings, and what is known about its cost."""

from __future__ import annotations

from dataclasses import dataclass

from gramtune.analysis.cost import start
from gramtune.analysis.labels import assignment_text, count, number, percent
from gramtune.analysis.replay import Replay, panel, recording, replay
from gramtune.errors import SpecError
from gramtune.record.report import Status
from gramtune.record.state import SweepState

_ORDERS, _WORKERS, _MOST = 50, 4, 200
"""Random orders of arrival, concurrent trials, and most trials for which the replay is run here."""


@dataclass(frozen=True)
class Stop:
    """One pruned trial."""

    trial: str
    step: int
    steps: int
    minute: float
    """Minutes since the start of the sweep."""
    reason: str


@dataclass(frozen=True)
class Audit:
    """The pruning of a sweep."""

    stops: tuple[Stop, ...]
    saved: int
    """Training steps saved, over all replicates."""
    share: float
    """The saved steps as a share of the steps of all started trials without pruning."""
    cost: str
    """What is known about good trials that were pruned."""
    replays: tuple[tuple[str, ...], ...]
    """One row per pruner (pruner, steps saved, best lost, regret), replayed on full-length trials if these exist."""


def audit(state: SweepState) -> Audit:
    """The audit of a sweep so far."""
    stopped = [
        record for record in state.records.values() if record.status in (Status.PRUNED, Status.PAUSED) and record.last
    ]
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
    saved = sum(r.trial.config.training.steps * r.trial.config.training.replicates - r.steps_taken for r in stopped)
    cost, replays = _cost(state, pruned=bool(stopped))
    return Audit(tuple(stops), saved, saved / whole if whole else 0.0, cost, replays)


def _cost(state: SweepState, *, pruned: bool) -> tuple[str, tuple[tuple[str, ...], ...]]:
    if pruned:
        return (
            f"{_promise(state)}The cost of pruning is unknown: no pruned trial was trained to its end, and the trials "
            "that were are a selection by the pruner. To measure it, run the space unpruned, then gramtune replay.",
            (),
        )
    try:
        recorded = recording(state, state.plan.sweep.name)
    except SpecError as error:
        return f"No trial was pruned, and no pruner can be replayed: {error.issues[0].message}.", ()
    if len(recorded.trials) > _MOST:
        return (
            f"No trial was pruned. For more than {_MOST} trials, run gramtune replay to see what a pruner would do.",
            (),
        )
    results = [replay(recorded, pruner, _ORDERS, _WORKERS, 0) for pruner in panel()]
    words = (
        f"No trial was pruned, so every pruner can be replayed on the {count(len(recorded.trials), 'trial')} trained "
        f"to their end: {_ORDERS} random orders of arrival, {_WORKERS} trials at once."
    )
    return words, tuple(_row(result) for result in results if result.pruner.name != "none")


def _promise(state: SweepState) -> str:
    """The guarantee of the false-prune rate and its condition; empty without a rate."""
    rate = state.plan.sweep.pruner.false_prune_rate
    if rate is None:
        return ""
    condition = "if earlier trials have shown how much seeds vary (docs/pruning.md)"
    return f"The truly best trial is pruned with probability at most {rate:g}, {condition}. "


def _row(result: Replay) -> tuple[str, ...]:
    low, high = result.interval
    aware = "" if result.pruner.false_prune_rate is None else f", noise-aware {result.pruner.false_prune_rate:g}"
    return (
        f"{result.pruner.name}{', promoting' if result.pruner.pauses else ''}{aware}",
        percent(result.steps_saved),
        f"{result.best_lost} of {result.orders} ({100 * low:.0f} to {percent(high)})",
        number(result.regret),
    )
