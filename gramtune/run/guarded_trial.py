"""Trains a trial under a runner. Failures are returned to the driver as one line; `--debug` raises them."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import torch

from gramtune.components import Unavailable
from gramtune.io import DiskFull, watching_space
from gramtune.plugins import place_in_plugin
from gramtune.record.layout import run_folder, trial_folder
from gramtune.record.object_store import RunStore
from gramtune.run.messages import Failed, Halted, Message, Reported
from gramtune.run.trial_runner import TrialRun
from gramtune.space.judge import Judge
from gramtune.space.plan import PlannedTrial
from gramtune.training.real_data import RealData

ERROR = "error.txt"
"""File in the folder of a failed trial with its traceback."""
_ASKED = re.compile(r"tried to allocate ([\d.]+ ?\w+)", re.IGNORECASE)


class Attempt:
    """Trains a trial, from its checkpoint if it has one. The networks are built in the first `step`.

    `debug`: an exception of the trial is raised, for a debugger, instead of ending the trial as FAILED.
    `real`: see `Trainer`.
    """

    def __init__(
        self,
        trial: PlannedTrial,
        store: RunStore,
        root: Path,
        device: torch.device,
        judge: Judge = "last",
        debug: bool = False,
        real: RealData | None = None,
    ) -> None:
        self._real = real
        self._keeps_best, self._debug = judge == "best", debug
        self._trial, self._store, self._root, self._device = trial, store, root, device
        self._run: TrialRun | None = None

    def step(self) -> Message:
        """The trial's next report; or why the trial failed; or why no trial can continue until the user acts."""
        try:
            return self._reported()
        except (DiskFull, Unavailable) as error:
            return Halted(self._trial.name, str(error))
        except Exception as error:
            if self._debug:
                raise
            return self._given_up(error)

    def _reported(self) -> Reported:
        damaged: list[str] = []
        below = f"trials/{self._trial.name}"
        if self._run is None:
            self._store.pull(below)
            folder = run_folder(self._store.folder, self._trial)
            self._run = TrialRun(
                self._trial.config, folder, self._root, self._device, self._trial.first, self._keeps_best, self._real
            )
            damaged = self._run.damaged
        report = self._run.step()
        self._store.push(below)
        return Reported(self._trial.name, report, tuple(damaged))

    def _given_up(self, error: Exception) -> Failed | Halted:
        """Keeps the traceback in the trial's folder, and frees the memory of the trial."""
        text, below = traceback.format_exc(), f"trials/{self._trial.name}"
        self._run = None
        folder = trial_folder(self._store.folder, self._trial.name)
        try:
            with watching_space(self._store.folder):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / ERROR).write_text(text, encoding="utf-8")
                self._store.push(below)
        except DiskFull as full:
            return Halted(self._trial.name, str(full))
        place = place_in_plugin(error)
        where = f" at {place}; traceback: {below}/{ERROR}" if place else ""
        return Failed(self._trial.name, in_words(error) + where, isinstance(error, torch.OutOfMemoryError))


def in_words(error: BaseException) -> str:
    """One line for the user: the resource that ran out, else the type of the error and its first line."""
    first = next(iter(str(error).splitlines()), "")
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in first:
        asked = _ASKED.search(first)
        return "out of memory" + (f": it asked for {_readable(asked[1])} at once" if asked else "")
    return f"{type(error).__name__}: {first}"


def _readable(amount: str) -> str:
    """`400000000 bytes` → `0.37 GiB`; other units as they are."""
    number, _, unit = amount.partition(" ")
    return f"{int(number) / 2**30:.3g} GiB" if unit == "bytes" else amount
