"""Tracking without getting in the way: a thread on the driver brings the store up to date with the sweep's state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gramtune.record.state import SweepState


class TrackerUnavailable(RuntimeError):
    """The store cannot be reached or written just now; the message is one line. Trying again later may work."""


def never() -> None:
    """Rests no time."""


class Tracker(Protocol):
    """A store of results, such as MLflow. Called on the driver only, from one thread."""

    def sync(self, state: SweepState, rest: Callable[[], None] = never) -> None:
        """Stores everything in `state` that is not stored yet; calling it again changes nothing.

        Calls `rest` after each trial, and goes on when that returns. Raises TrackerUnavailable; whatever was not stored
        is stored by a later call.
        """

    def finish(self, state: SweepState, folder: Path) -> None:
        """As `sync`; then stores the figures, tables and files of the sweep's folder and closes its runs."""

    @property
    def stored(self) -> int:
        """Trials that were stored since the tracker looked at its store: where this grows, it does not hang."""

    @property
    def link(self) -> str:
        """Where a person finds the sweep in the store."""

    @property
    def remedy(self) -> str:
        """The command that finishes what this tracker could not."""


class TrackerThread:
    """Runs a tracker in the background: training never waits for it, and an outage is said once, then retried."""

    def __init__(self, tracker: Tracker, state: SweepState, say: Callable[[str], None], every: float = 2.0) -> None:
        self._tracker, self._state, self._say, self._every = tracker, state, say, every
        self._stop = threading.Event()
        self._down = False
        self._folder: Path | None = None
        self._complete = False
        self._worked = 0.0
        """Processor time of the thread when it last rested."""
        self._thread = threading.Thread(target=self._run, name="tracker", daemon=True)
        self._thread.start()

    def close(self, folder: Path, timeout: float = 120.0) -> bool:
        """Stores what is left; False, and a line on how to go on, if it cannot or hangs for `timeout` seconds."""
        self._folder = folder
        self._stop.set()
        try:
            stored = -1
            while self._thread.is_alive() and stored != self._tracker.stored:
                stored = self._tracker.stored
                self._thread.join(timeout)
        except KeyboardInterrupt:
            self._left("interrupted")
            return False
        if self._thread.is_alive():
            self._left(f"nothing was stored for {timeout:.0f} s")
        return self._complete

    def _run(self) -> None:
        version = -1
        while not self._stop.is_set():
            newest = self._state.wait(version, timeout=0.5)
            if newest == version:
                continue
            self._worked = time.thread_time()
            if self._attempt():
                version = newest
            self._stop.wait(self._every)
        self._finish()

    def _rest(self) -> None:
        """Lets the driver have the interpreter for as long as this thread had it."""
        self._stop.wait(time.thread_time() - self._worked)
        self._worked = time.thread_time()

    def _finish(self) -> None:
        assert self._folder is not None, "close sets it"
        try:
            self._tracker.finish(self._state, self._folder)
        except TrackerUnavailable as error:
            self._left(str(error))
        else:
            self._complete = True

    def _left(self, reason: str) -> None:
        self._say(f"tracking: {reason}; nothing is lost, finish with: {self._tracker.remedy}")

    def _attempt(self) -> bool:
        try:
            self._tracker.sync(self._state, self._rest)
        except TrackerUnavailable as error:
            if not self._down:
                self._say(f"tracking: {error}; training goes on, results are kept and sent later")
            self._down = True
            return False
        if self._down:
            self._say("tracking: back; everything so far is stored")
        self._down = False
        return True
