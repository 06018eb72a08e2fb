"""Times peers in turn, round after round, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median, quantiles


def side_by_side(peers: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3) -> dict[str, list[float]]:
    """Seconds of processor time of each call, by peer: on a busy machine waiting for a core does not count."""
    for run in peers.values():
        for _ in range(warm_up):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, run in peers.items():
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    return seconds


def report(title: str, seconds: Mapping[str, list[float]], per_call: int = 1) -> None:
    """One line per peer: median and quartiles in milliseconds, and how often the first peer's median it fits into.

    `per_call`: steps behind each time. The ratio's spread is that of the rounds' own ratios.
    """
    print(f"{title} ({len(next(iter(seconds.values())))} rounds of {per_call})")
    first = next(iter(seconds.values()))
    for name, times in seconds.items():
        low, middle, high = (1e3 * t / per_call for t in quantiles(times, n=4))
        ratios = [a / b for a, b in zip(first, times, strict=True)]
        spread = quantiles(ratios, n=4)
        print(
            f"  {name:<44} {middle:8.2f} ms ({low:.2f} to {high:.2f})   "
            f"{median(ratios):5.2f}× ({spread[0]:.2f} to {spread[2]:.2f})"
        )
