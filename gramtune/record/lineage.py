"""Finds the origin of the weights of a trial in population-based training."""

from __future__ import annotations

from dataclasses import dataclass

from gramtune.record.state import SweepState
from gramtune.space.domain import Assignment


@dataclass(frozen=True)
class Segment:
    """A segment of the training that led to a trial's weights: its trial, its first step, and its values."""

    step: int
    trial: str
    assignment: Assignment


def lineage(state: SweepState, name: str) -> list[Segment]:
    """The segments that led to a trial's final weights, from step 0; before an inheritance they are the parent's."""
    segments, end = [], None
    while True:
        record = state.records[name]
        born = [i for i in record.inherited if end is None or i.step < end]
        if not born:
            segments.append(Segment(0, name, record.trial.assignment))
            return segments[::-1]
        segments.append(Segment(born[-1].step, name, born[-1].assignment))
        name, end = born[-1].parent, born[-1].step
