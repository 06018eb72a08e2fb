"""Signals that end a sweep early: Ctrl-C, SIGTERM (batch systems, containers, systemd), SIGHUP (a closed terminal)."""

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
    """Whether a signal has asked the sweep to end. The first one is noted, and every further Ctrl-C raises.

    Whoever runs the sweep looks at `asked` between two events, so that the journal and the state stay one; only inside
    `open` does the first signal raise KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None
        self._at = 0.0
        self._open = False

    @property
    def asked(self) -> bool:
        """Whether the sweep is to end."""
        return self._signal is not None

    @property
    def hurried(self) -> bool:
        """Whether the sender will not wait: SIGTERM and SIGHUP are followed by SIGKILL, within 30 s as a rule."""
        return self._signal in (signal.SIGTERM, signal.SIGHUP)

    @property
    def seconds(self) -> float:
        """Since the first signal."""
        return time.monotonic() - self._at if self.asked else 0.0

    @contextmanager
    def open(self) -> Iterator[None]:
        """A block without events, which a signal ends at once, with KeyboardInterrupt."""
        self._open = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._open = False

    def hear(self, number: int, frame: FrameType | None = None) -> None:
        """Takes note of a signal; a handler."""
        if not self.asked:
            self._signal, self._at = signal.Signals(number), time.monotonic()
        elif number != signal.SIGINT or self.seconds < _AGAIN:
            return
        else:
            raise KeyboardInterrupt
        if self._open:
            raise KeyboardInterrupt

    def arm(self) -> None:
        """Makes `hear` the handler, again where Ray has put its own; a signal that is ignored (nohup) stays ignored."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self.hear)


_AGAIN = 0.5
"""Seconds within which a second Ctrl-C is the first one."""


@contextmanager
def listening(say: Callable[[str], None]) -> Iterator[Interruption]:
    """Hears the signals until the block ends, and answers the first at once, whatever the main thread is busy with.

    Nobody can interrupt a sweep that runs outside the main thread.
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
    """A thread answers: Python's handlers wait for the main thread, which may be in a long call of Ray's or SciPy's."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    thread = threading.Thread(target=_answer, args=(ours, say), name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(theirs)  # the thread reads the end
        thread.join()
        os.close(ours)


def _answer(pipe: int, say: Callable[[str], None]) -> None:
    said = False
    while numbers := os.read(pipe, 1):
        if not said and numbers[0] in _SIGNALS:
            said = True
            number = signal.Signals(numbers[0])
            name = "Ctrl-C" if number == signal.SIGINT else number.name
            say(f"{name}: the sweep ends here; its tables come next")
