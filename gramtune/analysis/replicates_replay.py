"""Replays replicates until decided on a recorded sweep: their cost, and how often the verdict equals the recorded one.

The recording has R replicates of every trial. The seeds are put in random order; every trial starts with the first
ones, and open values get the next ones, as `replicates_needed` does in a running sweep.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from gramtune.analysis.key_verdicts import KeyVerdict, verdicts
from gramtune.analysis.replay import Interval, wilson
from gramtune.analysis.replicates_needed import until_decided
from gramtune.analysis.verdict import LEAST_REPLICATES, Verdict
from gramtune.errors import Issue, SpecError
from gramtune.record.state import SweepState


@dataclass(frozen=True)
class ReplicatesReplay:
    """One verdict of a recording, over random orders of its seeds."""

    verdict: KeyVerdict
    """The verdict of the whole recording."""
    orders: int
    share: float
    """Share of the recorded replicates that were used, mean over the orders."""
    same: int
    """Number of orders with the verdict of the whole recording."""
    said: dict[Verdict, int]
    """Number of orders by verdict."""

    @property
    def interval(self) -> Interval:
        """Wilson's interval of the probability that a random order gives the verdict of the whole recording."""
        return wilson(self.same, self.orders)


def replay_replicates(
    state: SweepState, where: str, most: int | None, orders: int, seed: int
) -> list[ReplicatesReplay]:
    """Replays each verdict of a recorded sweep in random orders of seeds, from three to at most `most` replicates.

    Raises SpecError at `where` if the recording has no verdict.
    """
    rows = [row for row in verdicts(state) if row.finding]
    if not rows:
        whys = "; ".join(dict.fromkeys(row.why for row in verdicts(state))) or "no key varies"
        raise SpecError([Issue(where, f"a replay needs a verdict, but there is none: {whys}")])
    rng, tolerance = random.Random(seed), state.plan.sweep.tolerance
    return [_replayed(row, tolerance, most, orders, rng) for row in rows]


def _replayed(row: KeyVerdict, tolerance: float, most: int | None, orders: int, rng: random.Random) -> ReplicatesReplay:
    assert row.finding is not None
    recorded = max(row.replicates)
    most = min(recorded, most or recorded)
    drawn = [rng.sample(range(recorded), recorded) for _ in range(orders)]
    losses = np.zeros((orders, len(row.losses), recorded))
    for position, loss in enumerate(row.losses):
        losses[:, position, : len(loss)] = [[loss[i] for i in order if i < len(loss)] for order in drawn]
    first = np.minimum(LEAST_REPLICATES, row.replicates) * np.ones((orders, 1), int)
    *_, (found, counts) = until_decided(losses, first, np.array(row.replicates), most, tolerance)
    said = {
        Verdict.INSENSITIVE: int(found.insensitive.sum()),
        Verdict.SENSITIVE: int(found.sensitive.sum()),
        Verdict.UNDECIDED: int((~found.decided).sum()),
    }
    share = float(counts.sum(axis=1).mean()) / sum(row.replicates)
    return ReplicatesReplay(row, orders, share, said[row.finding.verdict], said)
