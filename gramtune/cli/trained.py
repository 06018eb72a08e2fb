"""Selects the trials that `sample` and `evaluate` work on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gramtune.analysis.checkpoints import Trained


def trained_in(folder: Path, wanted: str) -> list[Trained]:
    """The trials of a sweep with the name or number `wanted` (or best, or all); or the trial of `gramtune train`.

    Raises SpecError if there is no such trial.
    """
    from gramtune.analysis.checkpoints import CONFIG_FILE, of_sweep, of_train
    from gramtune.run.run_directory import recorded_state

    if (folder / CONFIG_FILE).is_file():
        return of_train(folder)
    return of_sweep(recorded_state(folder), folder, wanted)
