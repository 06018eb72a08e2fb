"""Runs a sweep for a person at a terminal; `sweep` and `resume` share it."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console

from gramtune.api import Result, Say, Watch
from gramtune.cli.live import watching
from gramtune.sweep.state import Status


class Start(Protocol):
    """`run_sweep` or `resume_sweep` with all but these arguments given."""

    def __call__(self, *, say: Say, watch: Watch) -> Result:
        """Runs."""


def execute(start: Start) -> int:
    """Runs, with the live view; returns the exit code: 0 all fine, 1 something failed, 130 interrupted."""
    console = Console()

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    result = start(say=say, watch=lambda state: watching(state, console))
    if result.problem:
        return 1
    if not result.complete:
        return 130
    return 1 if any(record.status == Status.FAILED for record in result.state.records.values()) else 0
