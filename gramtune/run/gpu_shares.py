"""What part of a GPU each trial gets: what all get, until one has run out of memory with it."""

from __future__ import annotations

CONTEXT = 1 << 30
"""Bytes that each process needs on a GPU for CUDA and its libraries, beside what torch allocates and can be held to.

On an H200 a process on the ring takes 1.1 GiB, of which torch knows 0.2.
"""


class GpuShares:
    """The shares of a sweep's trials. Ray counts them but enforces nothing: the trial caps itself, see `memory_cap`."""

    def __init__(self, share: float) -> None:
        self._usual, self._larger = share, dict[str, float]()

    @property
    def may_grow(self) -> bool:
        """Whether a trial may come back for a larger share."""
        return 0 < self._usual < 1

    def of(self, trial: str) -> float:
        """Share of a GPU, or number of GPUs."""
        return self._larger.get(trial, self._usual)

    def grow(self, trial: str) -> float | None:
        """Doubles the trial's share, up to a GPU of its own, and returns it; None if it had that already."""
        share = self.of(trial)
        if share >= 1:
            return None
        self._larger[trial] = min(1.0, 2 * share)
        return self._larger[trial]


def memory_cap(share: float, total: int) -> float:
    """Fraction of a GPU's `total` bytes that torch may allocate in a trial with that share, CUDA's own part left out.

    So n trials with a share of 1/n fit together. Never less than half the share: a tiny GPU is no reason for 0.
    """
    share = min(share, 1.0)
    return max(share / 2, share - CONTEXT / total)
