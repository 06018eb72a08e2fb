"""Trains a trial under a runner. Failures are returned to the driver as one line, never raised."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

import torch

from gramtune.components import Unavailable
from gramtune.io import DiskFull, watching_space
from gramtune.plugins import place_in_plugin
from gramtune.record.layout import run_folder, trial_folder
from gramtune.record.object_store import Mirror, mirror_of
from gramtune.run.trial_runner import TrialRun
from gramtune.space.judge import Judge
from gramtune.space.plan import PlannedTrial

ERROR = "error.txt"
"""File in the folder of a failed trial with its traceback."""
_ASKED = re.compile(r"tried to allocate ([\d.]+ ?\w+)", re.IGNORECASE)


class Attempt:
    """Trains a trial, from its checkpoint if it has one. The networks are built in the first `step`."""

    def __init__(
        self, trial: PlannedTrial, sweep_folder: Path, root: Path, device: torch.device, judge: Judge = "last"
    ) -> None:
        self._keeps_best = judge == "best"
        self._trial, self._sweep_folder, self._root, self._device = trial, sweep_folder, root, device
        self._run: TrialRun | None = None
        self._mirror: Mirror | None = None

    def step(self) -> dict[str, Any]:
        """The trial's name and its next report; the first time also `damaged`, the checkpoints that it had to skip.

        Instead of a report it returns `failed`, the reason why the trial failed (with `out_of_memory` if a GPU was
        full), or `halt`, the reason why no trial can continue until the user has freed space or restored a file.
        """
        below = f"trials/{self._trial.name}"
        try:
            return {"trial": self._trial.name, **self._report()}
        except (DiskFull, Unavailable) as error:
            return {"trial": self._trial.name, "halt": str(error)}
        except Exception as error:  # noqa: BLE001 - an exception of a trial ends that trial, not the sweep
            text = traceback.format_exc()
            self._run = None  # frees its memory
            place = place_in_plugin(error)
            where = f" at {place}; traceback: {below}/{ERROR}" if place else ""
            message = {"trial": self._trial.name, **self._given_up(in_words(error) + where, text)}
            return message | {"out_of_memory": True} if isinstance(error, torch.OutOfMemoryError) else message

    def _report(self) -> dict[str, Any]:
        damaged: list[str] = []
        below = f"trials/{self._trial.name}"
        if self._run is None:
            self._mirror = mirror_of(self._sweep_folder)
            if self._mirror:
                self._mirror.pull(below)
            folder = run_folder(self._sweep_folder, self._trial)
            self._run = TrialRun(
                self._trial.config, folder, self._root, self._device, self._trial.first, self._keeps_best
            )
            damaged = self._run.damaged
        report = self._run.step()
        if self._mirror:
            self._mirror.push(below)
        return {**report, "damaged": damaged}

    def _given_up(self, reason: str, text: str) -> dict[str, Any]:
        folder = trial_folder(self._sweep_folder, self._trial.name)
        try:
            with watching_space(self._sweep_folder):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / ERROR).write_text(text, encoding="utf-8")
                if self._mirror:
                    self._mirror.push(f"trials/{self._trial.name}")
        except DiskFull as error:
            return {"halt": str(error)}
        return {"failed": reason}


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
