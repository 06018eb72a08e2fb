"""Runs a sweep with a live view and an exit code; shared by `sweep` and `resume`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

from rich.console import Console

from gramtune.api import Say, Watch
from gramtune.cli.live import watching
from gramtune.errors import SpecError
from gramtune.record.report import Status
from gramtune.result import Result
from gramtune.run.on_end import on_end


class Start(Protocol):
    """`run_sweep` or `resume_sweep`, with every other argument already bound."""

    def __call__(self, *, say: Say, watch: Watch) -> Result:
        """Runs or resumes the sweep."""


def ask(question: str) -> bool:
    """Asks the user a yes-or-no question; False without a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    answer = ""
    while answer not in ("y", "yes", "n", "no"):
        try:
            answer = input(f"{question} [y/n] ").strip().lower()
        except EOFError:
            return False
    return answer.startswith("y")


def execute(start: Start, folder: Path, command: str | None = None, quiet: bool = False) -> int:
    """Runs the sweep, with a live view unless `quiet`; returns the exit code. `command` runs at the end: see `on_end`.

    0: success; 1: a trial failed, or every trial failed or diverged; 130: interrupted.
    """
    with on_end(command, folder) as ending:
        try:
            code = _execute(start, quiet)
        except SpecError:
            ending.status = "REFUSED"
            raise
        except Exception:
            ending.status = "FAILED"
            raise
        ending.status = {0: "COMPLETED", 130: "INTERRUPTED"}.get(code, "FAILED")
    return code


def _execute(start: Start, quiet: bool) -> int:
    console = Console()
    errors = Console(stderr=True)

    def say(line: str) -> None:
        if not quiet:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        elif line.startswith(("warning:", "error:")):
            errors.print(line, highlight=False, markup=False, soft_wrap=True)

    result = start(say=say, watch=lambda state: nullcontext() if quiet else watching(state, console))
    if result.problem:
        if quiet:
            print(result.problem, file=sys.stderr)
        return 1
    if not result.complete:
        return 130
    statuses = [record.status for record in result.state.records.values()]
    if statuses and all(status in (Status.DIVERGED, Status.FAILED) for status in statuses):
        line = f"No trial has a result: all {len(statuses)} DIVERGED or FAILED, see {result.folder}/trials.csv"
        say(f"error: {line}" if quiet else line)
        return 1
    return 1 if Status.FAILED in statuses else 0
