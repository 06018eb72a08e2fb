"""What replicates until decided would have cost on a recorded sweep, and how often they say what the whole one says.

The recording has R replicates of every trial. An order of the seeds is drawn at random, the first ones count as those
that every trial has, and open values are given the next ones, as `replicates_needed` does it on a running sweep.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import fmean

from gramtune.analysis.replay import Interval, wilson
from gramtune.analysis.replicates_needed import more_replicates
from gramtune.analysis.verdict import LEAST_REPLICATES, Verdict, decide
from gramtune.analysis.verdicts import KeyVerdict, verdicts
from gramtune.errors import Issue, SpecError
from gramtune.record.state import SweepState


@dataclass(frozen=True)
class ReplicatesReplay:
    """One verdict of a recording, over random orders of its seeds."""

    verdict: KeyVerdict
    """That of the whole recording."""
    orders: int
    share: float
    """Of the recorded replicates that were used, mean over the orders."""
    same: int
    """Orders that came to the verdict of the whole recording."""
    said: dict[Verdict, int]
    """Orders by what they said."""

    @property
    def interval(self) -> Interval:
        """Wilson's interval of the probability that a random order says what the whole recording says."""
        return wilson(self.same, self.orders)


def replay_replicates(
    state: SweepState, where: str, most: int | None, orders: int, seed: int
) -> list[ReplicatesReplay]:
    """Each verdict of a recorded sweep, replayed in random orders of seeds: three replicates first, `most` at most.

    Raises SpecError, naming `where`, if the recording has no verdict.
    """
    rows = [row for row in verdicts(state) if row.finding]
    if not rows:
        whys = "; ".join(dict.fromkeys(row.why for row in verdicts(state))) or "no key varies"
        raise SpecError([Issue(where, f"a replay needs a verdict, and there is none: {whys}")])
    rng, tolerance = random.Random(seed), state.plan.sweep.tolerance
    return [_replayed(row, tolerance, most, orders, rng) for row in rows]


def _replayed(row: KeyVerdict, tolerance: float, most: int | None, orders: int, rng: random.Random) -> ReplicatesReplay:
    assert row.finding is not None
    recorded, shares = max(row.replicates), []
    said = dict.fromkeys(Verdict, 0)
    for _ in range(orders):
        order = rng.sample(range(recorded), recorded)
        losses = [[loss[i] for i in order if i < len(loss)] for loss in row.losses]
        verdict, counts = _until_decided(losses, tolerance, min(recorded, most or recorded))
        said[verdict] += 1
        shares.append(sum(counts) / sum(row.replicates))
    return ReplicatesReplay(row, orders, fmean(shares), said[row.finding.verdict], said)


def _until_decided(losses: list[list[float]], tolerance: float, most: int) -> tuple[Verdict, list[int]]:
    """What one order says, and the replicates of each value that it took."""
    counts = [min(LEAST_REPLICATES, len(loss)) for loss in losses]
    while True:
        finding = decide([loss[:n] for loss, n in zip(losses, counts, strict=True)], tolerance)
        following = more_replicates(finding, counts, most)
        grown = [min(following.get(i, n), len(losses[i])) for i, n in enumerate(counts)]
        if finding is None or grown == counts:
            return finding.verdict if finding else Verdict.UNDECIDED, counts
        counts = grown
