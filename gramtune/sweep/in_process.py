"""Runs a sweep in this process, one trial after the other: for debugging, with the numbers that Ray would give."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Protocol

import torch

from gramtune.paths import data_root
from gramtune.sweep.journal import Journal
from gramtune.sweep.local_resources import claim, grant
from gramtune.sweep.plan import PlannedTrial
from gramtune.sweep.state import Status, SweepState
from gramtune.sweep.trial import TrialRun, trial_folder


class Runner(Protocol):
    """Runs the unfinished trials of a sweep and journals what happens. An interruption leaves them unfinished."""

    def run(self, state: SweepState, folder: Path) -> None:
        """Returns when all is done, or after Ctrl-C."""


class InProcessRunner:
    """The Runner without Ray."""

    def run(self, state: SweepState, folder: Path) -> None:
        """See `Runner`."""
        journal = Journal(folder, state)
        device = claim(grant(state.plan.sweep.resources))
        try:
            for record in state.unfinished:
                _run_trial(record.trial, journal, trial_folder(folder, record.trial.name), device)
        except KeyboardInterrupt:
            return


def _run_trial(trial: PlannedTrial, journal: Journal, folder: Path, device: torch.device) -> None:
    journal.started(trial.name)
    try:
        run = TrialRun(trial.config, folder, data_root(), device)
        while True:
            report = run.step()
            journal.reported(trial.name, report)
            if Status(report["status"]).final:
                return
    except Exception as error:  # noqa: BLE001 - whatever a trial raises ends that trial, not the sweep
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(traceback.format_exc())
        journal.ended(trial.name, Status.FAILED, f"{type(error).__name__}: {error}".splitlines()[0])
