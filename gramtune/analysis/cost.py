"""What a sweep has cost: time, energy, training steps, trials."""

from __future__ import annotations

from typing import NamedTuple

from gramtune.record.report import added
from gramtune.record.state import SweepState, TrialRecord
from gramtune.space.sweep import AUTO


class Cost(NamedTuple):
    """Of everything that was reported."""

    wall: int
    """Seconds from the start of the first trial to the last report; pauses between two runs of the command included."""
    trained: float
    """Seconds of training and evaluation, summed over trials: what one worker would have taken."""
    steps: int
    """Training steps of all replicates together."""
    planned: int
    """The same, had every trial that began gone to its end."""
    joules: float | None
    """Of the GPUs, each trial by its share of one; None where no GPU tells."""

    @property
    def energy(self) -> str:
        """In words."""
        if self.joules is None:
            return "not measured: it ran without a GPU that tells"
        return f"{self.joules / 3.6e6:.3g} kWh of the GPUs, by their own counters; each trial by its share of one"


def cost_of(state: SweepState) -> Cost:
    """The cost of a sweep so far."""
    begun = [record for record in state.records.values() if record.last]
    starts = [start(record) for record in begun]
    ends = [record.last.timestamp for record in begun if record.last]
    return Cost(
        round(max(ends) - min(starts)) if begun else 0,
        sum(record.last.seconds for record in begun if record.last),
        sum(taken(record) for record in begun),
        sum(record.trial.config.training.steps * record.trial.config.training.replicates for record in begun),
        added(*(_share(state) * r.last.joules for r in begun if r.last and r.last.joules is not None)),
    )


def _share(state: SweepState) -> float:
    """Of one GPU: a trial computes on one, however many were set aside."""
    gpu = state.plan.sweep.resources.gpu
    assert gpu != AUTO, "a sweep that began has a number"
    return min(1.0, gpu)


def start(record: TrialRecord) -> float:
    """Unix time at which a trial that has reported began."""
    first = record.reports[min(record.reports)]
    return first.timestamp - first.seconds


def taken(record: TrialRecord) -> int:
    """Training steps of all replicates of a trial."""
    return record.taken
