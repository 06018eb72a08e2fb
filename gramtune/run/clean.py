"""Deletes checkpoints of a sweep to free disk space. The journal, tables, figures and sample grids stay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gramtune.errors import Issue, SpecError
from gramtune.record.layout import judged_checkpoints, part_folders
from gramtune.record.object_store import store_of
from gramtune.record.state import SweepState


@dataclass(frozen=True)
class Cleaned:
    """What was deleted."""

    files: int
    size: int
    """Bytes."""
    trials: int
    """Trials that had these files."""
    kept: tuple[str, ...]
    """Trials that keep their checkpoints."""


def clean(state: SweepState, folder: Path, everything: bool = False, dry_run: bool = False) -> Cleaned:
    """Deletes the checkpoints of finished trials, except of the best trial, or of the Pareto front.

    Unfinished trials keep theirs, because they continue from them. `everything`: deletes those of every trial.
    `dry_run`: only counts. Raises SpecError for a sweep in an object store, or if there is no best trial.
    """
    if store_of(folder).runs:
        rule = "checkpoints in an object store are deleted with the store's own tools"
        raise SpecError([Issue(str(folder), rule)])
    spared = set() if everything else _spared(state)
    found = {
        name: [path for part in part_folders(folder, record).values() for path in judged_checkpoints(part)]
        for name, record in state.records.items()
    }
    kept = tuple(name for name, files in found.items() if name in spared and files)
    doomed = {name: files for name, files in found.items() if name not in spared and files}
    paths = [path for files in doomed.values() for path in files]
    size = sum(path.stat().st_size for path in paths)
    for path in paths if not dry_run else ():
        path.unlink(missing_ok=True)
    return Cleaned(len(paths), size, len(doomed), kept)


def _spared(state: SweepState) -> set[str]:
    best = [state.best] if state.best else state.front
    if not best and state.completed:
        rule = "its trials are not comparable, so none is the best; --all deletes every checkpoint"
        raise SpecError([Issue(state.plan.sweep.name, rule)])
    return {record.trial.name for record in (*best, *state.unfinished) if record}
