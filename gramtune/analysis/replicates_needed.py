"""Which trials are to be given more replicates, until the verdicts of a sweep are decided."""

from __future__ import annotations

from collections.abc import Sequence

from gramtune.analysis.verdict import Finding, Verdict, looks
from gramtune.analysis.verdicts import verdicts
from gramtune.record.state import SweepState


def replicates_needed(state: SweepState) -> dict[str, int]:
    """How many replicates each trial of an open value is to have in all, at the next declared look; empty once done.

    Says the same whenever it is asked about the same results. A trial that counts for several verdicts is given what
    the most demanding one asks for. None has more than the sweep's `max_replicates`.
    """
    most = state.plan.sweep.max_replicates
    wanted: dict[str, int] = {}
    for row in verdicts(state) if most is not None else ():
        for i, n in more_replicates(row.finding, row.replicates, most or 0).items():
            wanted[row.trials[i]] = max(n, wanted.get(row.trials[i], 0))
    return wanted


def more_replicates(finding: Finding | None, counts: Sequence[int], most: int) -> dict[int, int]:
    """The open values of one verdict, by position, that have fewer replicates than the next declared look asks for."""
    if finding is None or finding.verdict != Verdict.UNDECIDED or not finding.open:
        return {}
    least = min(counts[i] for i in finding.open)
    following = next((look for look in looks(most) if look > least), 0)
    return {i: following for i in finding.open if counts[i] < following}
