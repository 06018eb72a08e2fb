"""Tracking in the background: a thread on the driver updates the store from the sweep's state."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gramtune.record.state import SweepState


class TrackerUnavailable(RuntimeError):
    """The store cannot be reached or written now; the message is one line. A later attempt may work."""


def no_pause() -> None:
    """Returns at once, without a pause."""


class Tracker(Protocol):
    """A store of results, such as MLflow. Called on the driver only, from one thread."""

    def sync(self, state: SweepState, rest: Callable[[], None] = no_pause) -> None:
        """Stores everything in `state` that is not stored yet; calling it again changes nothing.

        Calls `rest` after each trial. Raises TrackerUnavailable; a later call stores what is missing.
        """

    def settle(self, state: SweepState) -> None:
        """Stores the last state of the sweep and closes its runs; does not store the files of its folder."""

    def finish(self, state: SweepState, folder: Path) -> None:
        """Like `settle`, and also stores the figures, tables and files of the sweep's folder."""

    @property
    def stored(self) -> int:
        """Number of trials stored by the current call. While it grows, the tracker does not hang."""

    @property
    def link(self) -> str:
        """The address of the sweep in the store, for the user."""

    @property
    def remedy(self) -> str:
        """The command that stores what this tracker could not store."""


class TrackerThread:
    """Runs a tracker in the background. Training never waits for it; an outage is reported once, then retried."""

    def __init__(self, tracker: Tracker, state: SweepState, say: Callable[[str], None], every: float = 2.0) -> None:
        self._tracker, self._state, self._say, self._every = tracker, state, say, every
        self._stop, self._settled, self._closing = threading.Event(), threading.Event(), threading.Event()
        self._down = self._has_settled = False
        self._folder: Path | None = None
        self._complete = False
        self._worked = 0.0
        """Processor time of the thread at its last pause."""
        self._thread = threading.Thread(target=self._run, name="tracker", daemon=True)
        self._thread.start()

    def settle(self, timeout: float = 120.0, at_most: float = math.inf) -> bool:
        """Stores the last state of the sweep; returns whether this succeeded.

        Waits as long as something is stored every `timeout` seconds, and at most `at_most` seconds in total.
        """
        self._stop.set()
        return self._progress(self._settled.wait, timeout, at_most) and self._has_settled

    def close(self, folder: Path, timeout: float = 120.0) -> bool:
        """Stores the rest. After a failure or timeout (seconds) prints the command to run later and returns False."""
        self._folder = folder
        self._stop.set()
        self._closing.set()
        try:
            if not self._progress(self._ended, timeout):
                self.leave(f"nothing was stored for {timeout:.0f} s")
        except KeyboardInterrupt:
            self.leave("interrupted")
            return False
        return self._complete

    def leave(self, reason: str) -> None:
        """Prints why the store is incomplete, and the command that completes it."""
        self._say(f"tracking: {reason}; nothing is lost, finish with: {self._tracker.remedy}")

    def _progress(self, wait: Callable[[float], bool], timeout: float, at_most: float = math.inf) -> bool:
        """Waits for an event, repeatedly as long as something was stored meanwhile; returns whether it happened."""
        deadline, stored = time.monotonic() + at_most, -1
        while stored != self._tracker.stored:
            stored = self._tracker.stored
            if wait(max(0.0, min(timeout, deadline - time.monotonic()))):
                return True
        return False

    def _ended(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

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
        try:
            self._tracker.settle(self._state)
            self._has_settled = True
        except Exception:  # noqa: BLE001 - `finish` tries again and reports the error
            pass
        self._settled.set()
        self._closing.wait()
        self._finish()

    def _rest(self) -> None:
        """Sleeps as long as this thread was busy, so that the driver gets the interpreter."""
        self._stop.wait(time.thread_time() - self._worked)
        self._worked = time.thread_time()

    def _finish(self) -> None:
        assert self._folder is not None, "close sets it"
        try:
            self._tracker.finish(self._state, self._folder)
        except TrackerUnavailable as error:
            self.leave(str(error))
        except Exception as error:  # noqa: BLE001 - whatever a store raises, the sweep has its tables
            self.leave(_in_words(error))
        else:
            self._complete = True

    def _attempt(self) -> bool:
        try:
            self._tracker.sync(self._state, self._rest)
        except Exception as error:  # noqa: BLE001 - whatever a store raises, training continues
            if not isinstance(error, TrackerUnavailable):
                error = TrackerUnavailable(_in_words(error))
            if not self._down:
                self._say(f"tracking: {error}; training continues; results are kept and sent later")
            self._down = True
            return False
        if self._down:
            self._say("tracking: working again; everything so far is stored")
        self._down = False
        return True


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
