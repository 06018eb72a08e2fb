"""Decides which trials get more replicates, until the verdicts of a sweep are decided."""

from __future__ import annotations

from collections.abc import Sequence

from gramtune.analysis.verdict import Finding, Verdict, looks
from gramtune.analysis.verdicts import verdicts
from gramtune.record.state import SweepState


def replicates_needed(state: SweepState) -> dict[str, int]:
    """The new total number of replicates of each trial of an open value, at the next declared look; empty once done.

    The result depends only on the results so far. A trial that is part of several verdicts gets the largest number that
    one of them needs, at most the sweep's `max_replicates`.
    """
    most = state.plan.sweep.max_replicates
    wanted: dict[str, int] = {}
    for row in verdicts(state) if most is not None else ():
        for i, n in more_replicates(row.finding, row.replicates, most or 0).items():
            wanted[row.trials[i]] = max(n, wanted.get(row.trials[i], 0))
    return wanted


def more_replicates(finding: Finding | None, counts: Sequence[int], most: int) -> dict[int, int]:
    """The new total number of replicates of the open values of one verdict, by position, for the next declared look."""
    if finding is None or finding.verdict != Verdict.UNDECIDED or not finding.open:
        return {}
    least = min(counts[i] for i in finding.open)
    following = next((look for look in looks(most) if look > least), 0)
    return {i: following for i in finding.open if counts[i] < following}
