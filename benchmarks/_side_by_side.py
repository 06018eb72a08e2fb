"""Times peers in turn, round after round, so that other load on the machine affects all of them equally."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from statistics import median, quantiles


def side_by_side(
    peers: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 3,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds of processor time of each call, by peer; waiting for a core on a busy machine does not count.

    Peers that use several threads need `time.perf_counter`, and an idle machine.
    """
    return _in_turn({name: partial(_seconds, run, clock) for name, run in peers.items()}, rounds, warm_up)


def apart(
    makers: Mapping[str, Callable[[], Callable[[], object]]], rounds: int, warm_up: int = 3
) -> dict[str, list[float]]:
    """Like `side_by_side`, but each peer is created and run in its own process, with its own allocator."""
    children = {name: _Child(make) for name, make in makers.items()}
    try:
        return _in_turn({name: child.seconds for name, child in children.items()}, rounds, warm_up)
    finally:
        for child in children.values():
            child.process.kill()


def _in_turn(clocks: Mapping[str, Callable[[], float]], rounds: int, warm_up: int) -> dict[str, list[float]]:
    for clock in clocks.values():
        for _ in range(warm_up):
            clock()
    times: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(rounds):
        for name, clock in clocks.items():
            times[name].append(clock())
    return times


def _seconds(run: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    started = clock()
    run()
    return clock() - started


class _Child:
    """Runs a peer whenever it is asked; answers with the seconds of processor time."""

    def __init__(self, make: Callable[[], Callable[[], object]]) -> None:
        context = multiprocessing.get_context("fork")
        self._ours, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(make, theirs), daemon=True)
        self.process.start()

    def seconds(self) -> float:
        """Seconds of one call."""
        self._ours.send(None)
        seconds: float = self._ours.recv()
        return seconds


def _serve(make: Callable[[], Callable[[], object]], ends: Connection) -> None:
    run = make()
    while True:
        ends.recv()
        ends.send(_seconds(run))


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
