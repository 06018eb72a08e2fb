"""One driver per sweep: two would write into one journal, one study and the same checkpoints."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gramtune.errors import Issue, SpecError

_FILE = ".driver"
"""File that names the driver, for the message. The lock itself is the kernel's; a killed process loses it."""


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Locks the sweep in `folder` for this driver until the block ends.

    Raises SpecError if another driver holds the lock, or if the folder is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _FILE).open("ab+", buffering=0)
    except OSError as error:
        raise SpecError([Issue("--runs", f"{folder} cannot be written: {error.strerror or error}")]) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = file.read().decode().strip() or "another process"
            rule = "a sweep has one driver; wait for it, stop it, or choose another --name"
            raise SpecError([Issue(str(folder), f"{other} is running this sweep: {rule}")]) from None
        with suppress(OSError):  # the disk may be full; the text is only for the message
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield


def driver_of(folder: Path) -> str:
    """`process 4711 on host`: who runs the sweep in `folder` now; empty where nobody does."""
    try:
        file = (folder / _FILE).open("rb")
    except OSError:
        return ""
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().decode().strip() or "another process"
    return ""
