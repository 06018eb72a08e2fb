"""Runs a sweep in this process, one trial after the other: for debugging, with the numbers that Ray would give."""

from __future__ import annotations

import traceback
from typing import Protocol

import torch

from gramtune.paths import DiskFull, data_root
from gramtune.sweep.capacity import claim, grant, here
from gramtune.sweep.conductor import Conductor
from gramtune.sweep.plan import PlannedTrial
from gramtune.sweep.trial import TrialRun, trial_folder


class Runner(Protocol):
    """Runs the trials that a conductor hands out. An interruption leaves them unfinished."""

    def run(self, conductor: Conductor) -> None:
        """Returns when all is done, or after Ctrl-C."""


class InProcessRunner:
    """The Runner without Ray."""

    def run(self, conductor: Conductor) -> None:
        """See `Runner`."""
        device = claim(grant(conductor.state.plan.sweep.resources, here()))
        try:
            while trial := conductor.next():
                _run_trial(trial, conductor, device)
        except KeyboardInterrupt:
            return


def _run_trial(trial: PlannedTrial, conductor: Conductor, device: torch.device) -> None:
    conductor.started(trial)
    folder = trial_folder(conductor.folder, trial.name)
    try:
        run = TrialRun(trial.config, folder, data_root(), device)
        while conductor.reported(trial.name, run.step()):
            pass
    except DiskFull as error:
        conductor.halt(str(error))
    except Exception as error:  # noqa: BLE001 - whatever a trial raises ends that trial, not the sweep
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(traceback.format_exc())
        conductor.failed(trial.name, f"{type(error).__name__}: {error}".splitlines()[0])
