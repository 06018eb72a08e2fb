"""Standard streams that may break: a closed terminal, a full disk, an encoding without σ never end a command."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

_LEFT = (errno.EPIPE, errno.EIO)
"""Nobody reads any more: `| head`, a terminal that is closed."""


def harden() -> None:
    """Makes sys.stdout and sys.stderr drop what cannot be written; opens those that are closed, on the null device.

    A closed one would be taken by the next file that is opened, and Ray's processes would print into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 (open as long as the process lives)
    sys.stdout, sys.stderr = _lenient(sys.stdout, 1), _lenient(sys.stderr, 2)


def _lenient(stream: TextIO | None, number: int) -> TextIO:
    raw = _Lenient(number)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    errors = "backslashreplace" if number == 2 else "replace"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=number == 2 or raw.isatty())


class _Lenient(io.RawIOBase):
    """A file descriptor whose failures are said once, on stderr, if that still works."""

    def __init__(self, number: int) -> None:
        self._number, self._lost = number, False

    def write(self, data: Any, /) -> int:
        """Writes, or pretends to."""
        try:
            return os.write(self._number, data)
        except OSError as error:
            if not self._lost and error.errno not in _LEFT:
                with suppress(OSError):
                    os.write(2, f"standard output: {error.strerror}; what it lacks is in the files\n".encode())
            self._lost = True
            return memoryview(data).nbytes

    def writable(self) -> bool:
        """Yes."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._number)

    def fileno(self) -> int:
        """The file descriptor."""
        return self._number
