"""`gramtune report --follow`: rewrites the report of a running sweep while its journal grows."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import typer

from gramtune.record.object_store import JOURNAL

REFRESH = 30
"""Seconds after which the page reloads itself."""
_PAUSE, _SHARE = 10.0, 4.0
"""Least pause between two reports: in seconds, and as a multiple of a report's duration, to spare the CPU."""


def follow_sweep(folder: Path) -> None:
    """Rewrites the report repeatedly until the sweep no longer runs. Raises OSError if it cannot be written."""
    with suppress(OSError):
        os.nice(10)
    while True:
        running, size, began = _runs(folder), _size(folder), time.monotonic()
        _write(folder, REFRESH if running else None)
        if not running:
            return
        took = time.monotonic() - began
        time.sleep(max(_PAUSE, _SHARE * took))
        while _size(folder) == size and _runs(folder):
            time.sleep(1.0)


def _write(folder: Path, refresh: int | None) -> None:
    from gramtune.analysis.labels import status_counts
    from gramtune.api import rewrite
    from gramtune.run.run_directory import recorded_state

    state = recorded_state(folder)
    line, *failures = rewrite(state, folder, refresh).splitlines()
    counts = ", ".join(f"{count} {status}" for status, count in status_counts(state).items())
    typer.echo("\n".join([f"{time.strftime('%H:%M:%S')} {counts}; {line}", *failures]))


def _runs(folder: Path) -> bool:
    from gramtune.run.lock import driver_of

    return bool(driver_of(folder))


def _size(folder: Path) -> int:
    return (folder / JOURNAL).stat().st_size
