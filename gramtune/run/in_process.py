"""Runs a sweep in this process, trial by trial, for debugging. Each trial has the same numbers as under Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from gramtune.io import data_root
from gramtune.run.capacity import claimed, grant, here
from gramtune.run.driver import Driver
from gramtune.run.guarded_trial import Attempt
from gramtune.run.messages import Message
from gramtune.space.plan import PlannedTrial


class Runner(Protocol):
    """Runs the trials that a driver hands out. An interruption leaves them unfinished."""

    def run(self, driver: Driver) -> None:
        """Returns when all is done, or once `driver.interruption` is asked for."""


class InProcessRunner:
    """The Runner without Ray. `debug`: an exception of a trial ends the run and is raised, with the trial's name."""

    def __init__(self, say: Callable[[str], None] = print, debug: bool = False) -> None:
        self._say, self._debug = say, debug

    def run(self, driver: Driver) -> None:
        """See `Runner`."""
        with claimed(grant(driver.state.plan.sweep.resources, here())) as device:
            try:
                while not driver.interruption.asked and (trial := driver.next()):
                    driver.started(trial)
                    judge = driver.state.plan.sweep.judge
                    attempt = Attempt(trial, driver.folder, data_root(), device, judge, self._debug)
                    with _named(trial):
                        while driver.heard(_step(driver, attempt), self._say):
                            pass
            except KeyboardInterrupt:
                return


def _step(driver: Driver, attempt: Attempt) -> Message:
    with driver.interruption.open():
        return attempt.step()


@contextmanager
def _named(trial: PlannedTrial) -> Iterator[None]:
    """An exception in the block has a note with the trial's name."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in trial {trial.name}, after its last checkpoint")
        raise
