"""The GPU share of each trial: equal for all, but a trial that runs out of memory gets a larger one."""

from __future__ import annotations

CONTEXT = 1 << 30
"""GPU bytes that each process needs for CUDA and its libraries, besides torch's allocations, which can be capped.

On an H200 a process on the ring uses 1.1 GiB, of which torch allocates 0.2.
"""


class GpuShares:
    """The shares of a sweep's trials. Ray does not enforce them; each trial limits itself, see `memory_cap`."""

    def __init__(self, share: float) -> None:
        self._usual, self._larger = share, dict[str, float]()

    @property
    def may_grow(self) -> bool:
        """Whether a trial can get a larger share."""
        return 0 < self._usual < 1

    def of(self, trial: str) -> float:
        """The trial's share of a GPU, or number of GPUs."""
        return self._larger.get(trial, self._usual)

    def grow(self, trial: str) -> float | None:
        """Doubles the trial's share, up to a whole GPU, and returns it; None if it had a whole GPU."""
        share = self.of(trial)
        if share >= 1:
            return None
        self._larger[trial] = min(1.0, 2 * share)
        return self._larger[trial]


def memory_cap(share: float, total: int) -> float:
    """Fraction of a GPU's `total` bytes that torch may allocate in a trial: the share minus CUDA's own part.

    So n trials with a share of 1/n fit together. It is at least half the share, so that it is not 0 on a tiny GPU.
    """
    share = min(share, 1.0)
    return max(share / 2, share - CONTEXT / total)
