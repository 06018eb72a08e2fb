"""Runs a sweep in this process, trial by trial, for debugging. Each trial has the same numbers as under Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gramtune.io import data_root
from gramtune.run.capacity import claimed, grant, here
from gramtune.run.driver import Driver
from gramtune.run.guarded_trial import Attempt
from gramtune.run.messages import Message
from gramtune.training.real_data import RealData


class Runner(Protocol):
    """Runs the trials that a driver hands out. An interruption leaves them unfinished."""

    def run(self, driver: Driver) -> None:
        """Returns when all trials have ended, or after an interruption."""


class InProcessRunner:
    """The Runner without Ray. `debug`: an exception of a trial ends the run, see `Driver.raised`."""

    def __init__(self, say: Callable[[str], None] = print, debug: bool = False) -> None:
        self._say, self._debug = say, debug

    def run(self, driver: Driver) -> None:
        """See `Runner`."""
        with claimed(grant(driver.state.plan.sweep.resources, here())) as device:
            real = RealData()
            try:
                while not driver.interruption.asked and (trial := driver.next()):
                    driver.started(trial)
                    judge = driver.state.plan.sweep.judge
                    attempt = Attempt(trial, driver.store, data_root(), device, judge, self._debug, real)
                    while (message := _step(driver, attempt)) and driver.heard(message, self._say):
                        pass
                    if driver.raised:
                        driver.raised.add_note(f"in trial {trial.name}, after its last checkpoint")
                        return
            except KeyboardInterrupt:
                return


def _step(driver: Driver, attempt: Attempt) -> Message | None:
    """What the trial says; None where it has raised an exception for a debugger."""
    try:
        with driver.interruption.open():
            return attempt.step()
    except Exception as error:  # noqa: BLE001 - raised again at the end, see `Driver.raised`
        driver.raised = error
        return None
