"""Locks a sweep for one driver: two would write to the same journal, study and checkpoints."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from gramtune.errors import Issue, SpecError

_LOCK, _DRIVER = ".driver.lock", ".driver"
"""A lock file, whose lock the kernel releases when its process dies, and a file that names the driver, for messages."""


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Locks the sweep in `folder` for this driver until the block ends.

    Raises SpecError if another driver holds the lock, or if the folder is not writable.
    """
    lock, driver = FileLock(folder / _LOCK, timeout=0), folder / _DRIVER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        other = driver.read_text().strip() if driver.is_file() else "another process"
        rule = "a sweep has one driver; wait for it, stop it, or choose another --name"
        raise SpecError([Issue(str(folder), f"{other} is running this sweep: {rule}")]) from None
    except OSError as error:
        raise SpecError([Issue("--runs", f"{folder} cannot be written: {error.strerror or error}")]) from None
    try:
        with suppress(OSError):  # the disk may be full; the text is only for the message
            driver.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        lock.release()


def driver_of(folder: Path) -> str:
    """The driver that runs the sweep in `folder` now, as `process 4711 on host`; empty if there is none."""
    if not (folder / _LOCK).exists():
        return ""
    try:
        with FileLock(folder / _LOCK, timeout=0):
            return ""
    except Timeout:
        driver = folder / _DRIVER
        return (driver.read_text().strip() if driver.is_file() else "") or "another process"
    except OSError:  # this user may not write to the folder
        return ""
