"""Decides which trials get more replicates, until the verdicts of a sweep are decided."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gramtune.analysis.key_verdicts import KeyVerdict, verdicts
from gramtune.analysis.pair_bounds import Array, Counts, Mask
from gramtune.analysis.verdict import FindingBatch, Verdict, batch_findings, looks
from gramtune.record.state import SweepState


def replicates_needed(state: SweepState) -> dict[str, int]:
    """The new total number of replicates of each trial of an open value, at the next declared look; empty once done.

    The result depends only on the results so far. A trial that is part of several verdicts gets the largest number that
    one of them needs, at most the sweep's `max_replicates`.
    """
    most = state.plan.sweep.max_replicates
    wanted: dict[str, int] = {}
    for row in verdicts(state) if most is not None else ():
        for trial, n in _more_of(row, most or 0).items():
            wanted[trial] = max(n, wanted.get(trial, 0))
    return wanted


def _more_of(row: KeyVerdict, most: int) -> dict[str, int]:
    """The new total number of replicates of the trials of open values in one verdict, for the next declared look."""
    if row.finding is None or row.finding.verdict != Verdict.UNDECIDED:
        return {}
    counts, still = np.array([row.replicates]), np.zeros((1, len(row.replicates)), bool)
    still[0, list(row.finding.open)] = True
    more = grown(still, counts, most)[0].tolist()
    return {trial: n for trial, n, has in zip(row.trials, more, row.replicates, strict=True) if n > has}


def grown(still: Mask, counts: Counts, most: int) -> Counts:
    """[B, V] replicates of B sweeps after their next declared look, at which open values get more.

    `still`: [B, V] whether a value is open; `counts`: [B, V] replicates so far; `most`: the largest look.
    """
    declared = np.array([0, *looks(most), 0])  # 0 stands for no further look
    least = np.where(still, counts, np.iinfo(int).max).min(axis=1)
    following = declared[np.searchsorted(declared[:-1], least, side="right")]
    return np.where(still, np.maximum(counts, following[:, None]), counts)


def until_decided(
    losses: Array, counts: Counts, recorded: Counts, most: int, tolerance: float
) -> Iterator[tuple[FindingBatch, Counts]]:
    """Yields the findings and replicate counts of B sweeps after each allotment, with more replicates for open values.

    `losses` [B, V, N]: all losses of a sweep, of which the first `recorded` [V] exist; `counts` [B, V]: the initial
    replicates of each value. Ends when no sweep gets more: all are decided or have `most` replicates.
    """
    *_, now = batch_findings(losses, counts, tolerance)
    while True:
        yield now, counts
        more = np.minimum(grown(now.open, counts, most), recorded)
        (changed,) = np.nonzero((more > counts).any(axis=1))
        if not len(changed):
            return
        *_, newer = batch_findings(losses[changed], more[changed], tolerance)
        now, counts = now.updated(changed, newer), more
