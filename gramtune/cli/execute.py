"""Runs a sweep for a person at a terminal; `sweep` and `resume` share it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

from rich.console import Console

from gramtune.api import Result, Say, Watch
from gramtune.cli.live import watching
from gramtune.errors import SpecError
from gramtune.record.report import Status
from gramtune.run.on_end import on_end


class Start(Protocol):
    """`run_sweep` or `resume_sweep` with all but these arguments given."""

    def __call__(self, *, say: Say, watch: Watch) -> Result:
        """Runs."""


def ask(question: str) -> bool:
    """Whether a person at a terminal answers yes; no where there is nobody."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    answer = ""
    while answer not in ("y", "yes", "n", "no"):
        try:
            answer = input(f"{question} [y/n] ").strip().lower()
        except EOFError:
            return False
    return answer.startswith("y")


def execute(start: Start, folder: Path, command: str | None = None) -> int:
    """Runs, with the live view; returns the exit code. `command` runs at the end: see `on_end`.

    0: all fine; 1: a trial failed, or all of them failed or diverged; 130: interrupted.
    """
    with on_end(command, folder) as ending:
        try:
            code = _execute(start)
        except SpecError:
            ending.status = "REFUSED"
            raise
        ending.status = {0: "COMPLETED", 130: "INTERRUPTED"}.get(code, "FAILED")
    return code


def _execute(start: Start) -> int:
    console = Console()

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    result = start(say=say, watch=lambda state: watching(state, console))
    if result.problem:
        return 1
    if not result.complete:
        return 130
    statuses = [record.status for record in result.state.records.values()]
    if statuses and all(status in (Status.DIVERGED, Status.FAILED) for status in statuses):
        say(f"No trial has a result: all {len(statuses)} DIVERGED or FAILED, see {result.folder}/trials.csv")
        return 1
    return 1 if Status.FAILED in statuses else 0
