"""Which trials are to be given more replicates, until the verdicts of a sweep are decided."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gramtune.analysis.pair_bounds import Array, Counts, Mask
from gramtune.analysis.verdict import Findings, Verdict, judged, looks
from gramtune.analysis.verdicts import KeyVerdict, verdicts
from gramtune.record.state import SweepState


def replicates_needed(state: SweepState) -> dict[str, int]:
    """How many replicates each trial of an open value is to have in all, at the next declared look; empty once done.

    Says the same whenever it is asked about the same results. A trial that counts for several verdicts is given what
    the most demanding one asks for. None has more than the sweep's `max_replicates`.
    """
    most = state.plan.sweep.max_replicates
    wanted: dict[str, int] = {}
    for row in verdicts(state) if most is not None else ():
        for trial, n in _more_of(row, most or 0).items():
            wanted[trial] = max(n, wanted.get(trial, 0))
    return wanted


def _more_of(row: KeyVerdict, most: int) -> dict[str, int]:
    """The trials of open values that have fewer replicates than the next declared look asks for."""
    if row.finding is None or row.finding.verdict != Verdict.UNDECIDED:
        return {}
    counts, still = np.array([row.replicates]), np.zeros((1, len(row.replicates)), bool)
    still[0, list(row.finding.open)] = True
    more = grown(still, counts, most)[0].tolist()
    return {trial: n for trial, n, has in zip(row.trials, more, row.replicates, strict=True) if n > has}


def grown(still: Mask, counts: Counts, most: int) -> Counts:
    """[B, V] replicates after the next declared look of each of B sweeps: open values are brought up to it.

    `still`: [B, V] whether a value is open; `counts`: [B, V] replicates so far; `most`: no look is beyond it.
    """
    declared = np.array([0, *looks(most), 0])  # 0: there is no further look
    least = np.where(still, counts, np.iinfo(int).max).min(axis=1)
    following = declared[np.searchsorted(declared[:-1], least, side="right")]
    return np.where(still, np.maximum(counts, following[:, None]), counts)


def until_decided(
    losses: Array, counts: Counts, recorded: Counts, most: int, tolerance: float
) -> Iterator[tuple[Findings, Counts]]:
    """What B sweeps know after each allotment, with replicates for open values only, and the replicates they have.

    `losses` [B, V, N] are those that a sweep would have, of which the first `recorded` [V] can be given; `counts`
    [B, V]: how many each value begins with. It ends once no sweep is given more: decided, or at `most`.
    """
    *_, now = judged(losses, counts, tolerance)
    while True:
        yield now, counts
        more = np.minimum(grown(now.open, counts, most), recorded)
        (changed,) = np.nonzero((more > counts).any(axis=1))
        if not len(changed):
            return
        *_, newer = judged(losses[changed], more[changed], tolerance)
        now, counts = now.updated(changed, newer), more
