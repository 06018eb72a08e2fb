"""Computes the cost of a sweep: time, energy, training steps, trials."""

from __future__ import annotations

from dataclasses import dataclass

from gramtune.record.report import added
from gramtune.record.state import SweepState, TrialRecord


@dataclass(frozen=True)
class RealisedCost:
    """The cost up to the last report."""

    wall: int
    """Seconds from the start of the first trial to the last report, including pauses between runs of the command."""
    trained: float
    """Seconds of training and evaluation, summed over trials."""
    steps: int
    """Training steps of all replicates together."""
    planned: int
    """Training steps if every started trial had trained to its end."""
    joules: float | None
    """Energy of the GPUs in joules; a trial counts by its share of a GPU. None without an energy counter."""

    @property
    def energy(self) -> str:
        """The energy in words."""
        if self.joules is None:
            return "not measured (no GPU energy counter)"
        return f"{self.joules / 3.6e6:.3g} kWh of the GPUs, from their energy counters; a trial counts by its GPU share"


def cost_of(state: SweepState) -> RealisedCost:
    """The cost of a sweep so far."""
    begun = [record for record in state.records.values() if record.last]
    starts = [start(record) for record in begun]
    ends = [record.last.timestamp for record in begun if record.last]
    return RealisedCost(
        round(max(ends) - min(starts)) if begun else 0,
        sum(record.last.seconds for record in begun if record.last),
        sum(record.steps_taken for record in begun),
        sum(record.trial.config.training.steps * record.trial.config.training.replicates for record in begun),
        added(*(_share(state) * r.last.joules for r in begun if r.last and r.last.joules is not None)),
    )


def _share(state: SweepState) -> float:
    """The trial's share of one GPU, at most 1: a trial uses one GPU even if more are reserved."""
    return min(1.0, state.plan.sweep.resources.share)


def start(record: TrialRecord) -> float:
    """Unix time of the start of a trial that reported."""
    first = record.reports[min(record.reports)]
    return first.timestamp - first.seconds
