"""Which trials are to be given more replicates, until the verdicts of a sweep are decided."""

from __future__ import annotations

from gramtune.analysis.verdict import Verdict, looks
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
        if row.finding is None or row.finding.verdict != Verdict.UNDECIDED or not row.finding.open:
            continue
        least = min(row.replicates[i] for i in row.finding.open)
        following = next((look for look in looks(most or 0) if look > least), None)
        for i in row.finding.open:
            if following is not None and row.replicates[i] < following:
                wanted[row.trials[i]] = max(following, wanted.get(row.trials[i], 0))
    return wanted
