"""Where the weights of a trial of population-based training come from."""

from __future__ import annotations

from dataclasses import dataclass

from gramtune.record.state import SweepState
from gramtune.space.domain import Assignment


@dataclass(frozen=True)
class Segment:
    """A stretch of training on the way to a trial's weights: who trained it, from which step on, with which values."""

    step: int
    trial: str
    assignment: Assignment


def lineage(state: SweepState, name: str) -> list[Segment]:
    """The training that led to a trial's final weights, from step 0 on: an heir's past is that of its parents."""
    segments, end = [], None
    while True:
        record = state.records[name]
        born = [i for i in record.inherited if end is None or i.step < end]
        if not born:
            segments.append(Segment(0, name, record.trial.assignment))
            return segments[::-1]
        segments.append(Segment(born[-1].step, name, born[-1].assignment))
        name, end = born[-1].parent, born[-1].step
