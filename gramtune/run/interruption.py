"""Handles signals that end a sweep: Ctrl-C, SIGTERM (batch systems, containers, systemd), SIGHUP (closed terminal)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Records whether a signal has asked the sweep to end. Only a second Ctrl-C raises KeyboardInterrupt.

    The runner polls `asked` between two events, so that journal and state stay consistent. Inside `open` the first
    signal already raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None
        self._at = 0.0
        self._open = False

    @property
    def asked(self) -> bool:
        """Whether the sweep should end."""
        return self._signal is not None

    @property
    def hurried(self) -> bool:
        """Whether little time is left: SIGKILL usually follows SIGTERM and SIGHUP within 30 s."""
        return self._signal in (signal.SIGTERM, signal.SIGHUP)

    @property
    def seconds(self) -> float:
        """Seconds since the first signal."""
        return time.monotonic() - self._at if self.asked else 0.0

    @contextmanager
    def open(self) -> Iterator[None]:
        """A block in which no event is processed, so that a signal may raise KeyboardInterrupt at once."""
        self._open = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._open = False

    def hear(self, number: int, frame: FrameType | None = None) -> None:
        """The signal handler: records the signal."""
        if not self.asked:
            self._signal, self._at = signal.Signals(number), time.monotonic()
        elif number != signal.SIGINT or self.seconds < _AGAIN:
            return
        else:
            raise KeyboardInterrupt
        if self._open:
            raise KeyboardInterrupt

    def arm(self) -> None:
        """Installs `hear` as the handler, also if Ray has replaced it. Ignored signals (nohup) stay ignored."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self.hear)


_AGAIN = 0.5
"""A second Ctrl-C within this many seconds counts as the same one."""


@contextmanager
def listening(say: Callable[[str], None]) -> Iterator[Interruption]:
    """Handles the signals until the block ends; prints an answer to the first one at once, even if Python is busy.

    A sweep outside the main thread cannot be interrupted.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    with _answering(say):
        interruption.arm()
        try:
            yield interruption
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def _answering(say: Callable[[str], None]) -> Iterator[None]:
    """Answers from a thread, because Python's handlers wait for the main thread, which may be in a long C++ call."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    thread = threading.Thread(target=_answer, args=(ours, say), name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(theirs)  # the thread then reads the end of the pipe
        thread.join()
        os.close(ours)


def _answer(pipe: int, say: Callable[[str], None]) -> None:
    said = False
    while numbers := os.read(pipe, 1):
        if not said and numbers[0] in _SIGNALS:
            said = True
            number = signal.Signals(numbers[0])
            name = "Ctrl-C" if number == signal.SIGINT else number.name
            say(f"{name}: the sweep ends; writing its tables")
