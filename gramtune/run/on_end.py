"""Runs the user's command when a sweep ends or its driver dies."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DIED = "DIED"
_WATCHER = (
    f'read -r GRAMTUNE_STATUS || GRAMTUNE_STATUS={DIED}; export GRAMTUNE_STATUS; eval "$GRAMTUNE_ON_END" </dev/null'
)
"""Shell code that waits for a line with the status. A driver that dies closes the pipe without such a line."""


class Ending:
    """The status with which a sweep ends; DIED until the block sets it."""

    status = DIED


@contextmanager
def on_end(command: str | None, folder: Path) -> Iterator[Ending]:
    """Runs the shell command after the block, and waits for it.

    The command gets GRAMTUNE_STATUS (the `status` that the block set, else DIED), GRAMTUNE_FOLDER (the sweep's folder)
    and GRAMTUNE_NAME. A separate process runs it, so it also runs if this process is killed. None: no command.
    """
    ending = Ending()
    if command is None:
        yield ending
        return
    told = {"GRAMTUNE_ON_END": command, "GRAMTUNE_FOLDER": str(folder.absolute()), "GRAMTUNE_NAME": folder.name}
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", _WATCHER],
        env={**os.environ, **told},
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C must reach only the driver
        text=True,
    )
    try:
        yield ending
    finally:
        watcher.communicate(f"{ending.status}\n" if ending.status != DIED else None)
