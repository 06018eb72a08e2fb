"""Paths of a trial's files: checkpoints, sample grids, replicates that were added later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gramtune.components import Shape
from gramtune.record.state import TrialRecord
from gramtune.space.plan import PlannedTrial


def trial_folder(sweep_folder: Path, name: str) -> Path:
    """The folder of a trial's checkpoints, sample grids and error text."""
    return sweep_folder / "trials" / name


def run_folder(sweep_folder: Path, trial: PlannedTrial) -> Path:
    """The folder of a `TrialRun`; replicates that were added later have a subfolder."""
    return _part_folder(trial_folder(sweep_folder, trial.name), trial.first, trial.config.training.replicates)


def newest_checkpoint(sweep_folder: Path, record: TrialRecord, replicate: int) -> tuple[Path | None, int]:
    """The checkpoint to use for a replicate (None if there is none), and the index of the replicate in it."""
    first, folder = part_of(sweep_folder, record, replicate)
    return next(iter(judged_checkpoints(folder)), None), replicate - first


def part_of(sweep_folder: Path, record: TrialRecord, replicate: int) -> tuple[int, Path]:
    """The first replicate of the group that was trained with this one, and the folder of the group's checkpoints."""
    folders = part_folders(sweep_folder, record)
    first = max(first for first in folders if first <= replicate)
    return first, folders[first]


def part_folders(sweep_folder: Path, record: TrialRecord) -> dict[int, Path]:
    """The folders of a trial's checkpoints by the first replicate in them: replicates added later have their own."""
    folder = trial_folder(sweep_folder, record.trial.name)
    counts = {first: max(report.replicates for report in part.values()) for first, part in record.parts.items()}
    return {0: folder} | {first: _part_folder(folder, first, count) for first, count in sorted(counts.items())}


def _part_folder(folder: Path, first: int, count: int) -> Path:
    return folder / f"replicates-{first}-{first + count - 1}" if first else folder


def sample_grids(folder: Path) -> dict[int, Path]:
    """Sample grids in a trial's folder by training step; each shows one block of rows per replicate."""
    return {int(path.stem.removeprefix("step-")): path for path in sorted((folder / "samples").glob("step-*.png"))}


def read_strip(grid_file: Path, shape: Shape) -> NDArray[np.uint8] | None:
    """The first row of a sample grid, eight images of the first replicate: [H + 2, W', C], or [H + 2, W'] if grey.

    None for a file that cannot be read.
    """
    try:
        with Image.open(grid_file) as image:
            return np.asarray(image)[: shape[1] + 2]
    except OSError:
        return None


def best_checkpoint(folder: Path, step: int) -> Path:
    """The path of the best checkpoint, for a trial that is judged by it."""
    return folder / f"best-{step:08d}.pt"


def judged_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in a trial's folder in order of preference: the best one, if it is kept, then the newest."""
    return [*sorted(folder.glob("best-*.pt"), reverse=True), *checkpoints(folder)]


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in a trial's folder, newest first."""
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)
