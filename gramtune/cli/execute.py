"""Runs a sweep for a person at a terminal; `sweep` and `resume` share it."""

from __future__ import annotations

import sys
from typing import Protocol

from rich.console import Console

from gramtune.api import Result, Say, Watch
from gramtune.cli.live import watching
from gramtune.record.report import Status


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


def execute(start: Start) -> int:
    """Runs, with the live view; returns the exit code.

    0: all fine; 1: a trial failed, or all of them failed or diverged; 130: interrupted.
    """
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
