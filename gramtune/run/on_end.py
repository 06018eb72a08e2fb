"""A command of the user's that runs when a sweep ends or its driver dies."""

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
"""Waits for a line with the status. A driver that dies, by whatever signal, closes the pipe without one."""


class Ending:
    """The status with which a sweep ends; without one it has died."""

    status = DIED


@contextmanager
def on_end(command: str | None, folder: Path) -> Iterator[Ending]:
    """Runs the shell command after the block, and waits for it.

    The command gets GRAMTUNE_STATUS (the `status` that the block set, else DIED), GRAMTUNE_FOLDER (the sweep's folder)
    and GRAMTUNE_NAME. A process of its own runs it, so it also runs if this process is killed. None: no command.
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
        start_new_session=True,  # Ctrl-C is for the driver alone
        text=True,
    )
    try:
        yield ending
    finally:
        watcher.communicate(f"{ending.status}\n" if ending.status != DIED else None)
