"""Runs a sweep in this process, trial by trial, for debugging. Each trial has the same numbers as under Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from gramtune.io import data_root
from gramtune.run.capacity import claimed, grant, here
from gramtune.run.driver import Driver
from gramtune.run.guarded_trial import Attempt


class Runner(Protocol):
    """Runs the trials that a driver hands out. An interruption leaves them unfinished."""

    def run(self, driver: Driver) -> None:
        """Returns when all trials have ended, or after an interruption."""


class InProcessRunner:
    """The Runner without Ray."""

    def __init__(self, say: Callable[[str], None] = print) -> None:
        self._say = say

    def run(self, driver: Driver) -> None:
        """See `Runner`."""
        with claimed(grant(driver.state.plan.sweep.resources, here())) as device:
            try:
                while not driver.interruption.asked and (trial := driver.next()):
                    driver.started(trial)
                    attempt = Attempt(trial, driver.folder, data_root(), device, driver.state.plan.sweep.judge)
                    while driver.heard(_step(driver, attempt), self._say):
                        pass
            except KeyboardInterrupt:
                return


def _step(driver: Driver, attempt: Attempt) -> dict[str, Any]:
    with driver.interruption.open():
        return attempt.step()
