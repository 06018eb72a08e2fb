"""Standard streams that never raise: a closed terminal, a full disk or an encoding without σ ends no command."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

_LEFT = (errno.EPIPE, errno.EIO)
"""Errors that mean that the reader has gone: `| head`, or a closed terminal."""


def harden() -> None:
    """Makes sys.stdout and sys.stderr drop what cannot be written; opens closed standard streams on the null device.

    Otherwise the next opened file would get the closed stream's number, and Ray's processes would print into that file.
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
    """A file descriptor that never raises; its first failure is reported once on stderr, if stderr works."""

    def __init__(self, number: int) -> None:
        self._number, self._lost = number, False

    def write(self, data: Any, /) -> int:
        """Writes; after a failure it returns as if it had written."""
        try:
            return os.write(self._number, data)
        except OSError as error:
            if not self._lost and error.errno not in _LEFT:
                with suppress(OSError):
                    os.write(
                        2,
                        f"standard output: {error.strerror}; output is lost, the files are complete\n".encode(),
                    )
            self._lost = True
            return memoryview(data).nbytes

    def writable(self) -> bool:
        """Always true."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._number)

    def fileno(self) -> int:
        """The file descriptor."""
        return self._number
