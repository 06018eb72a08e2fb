"""Finds trials with checkpoints: those of a sweep, finished or running, and the trial of `gramtune train`."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gramtune.errors import Issue, SpecError, did_you_mean
from gramtune.plugins import Plugin
from gramtune.record.layout import checkpoints, judged_checkpoints, part_folders
from gramtune.record.state import SweepState, TrialRecord
from gramtune.training.config import TrialConfig
from gramtune.training.generator import Generators, load_generators
from gramtune.training.trainer import CheckpointError

CONFIG_FILE = "config.json"
"""File in the folder of `gramtune train` with the resolved configuration."""
PLUGINS_FILE = "plugins.json"
"""File in the same folder with the plug-ins, if the configuration uses any."""
BEST, ALL = "best", "all"


@dataclass(frozen=True)
class Trained:
    """A trial and the folders of its checkpoints, by the first replicate in them."""

    name: str
    config: TrialConfig
    folders: Mapping[int, Path]

    @property
    def usable(self) -> bool:
        """Whether the trial has a checkpoint."""
        return any(checkpoints(folder) for folder in self.folders.values())


def best_replicate(record: TrialRecord) -> int | None:
    """Index of the replicate with the best newest primary metric (the first of equals); None without a value."""
    config = record.trial.config
    values = record.values(config.metric)
    sign = 1 if config.directions[config.metric] == "min" else -1
    known = [(sign * value, i) for i, value in enumerate(values) if value is not None]
    return min(known)[1] if known else None


def of_sweep(state: SweepState, folder: Path, wanted: str) -> list[Trained]:
    """The trial of that number or name, the best one, or all with a checkpoint. Raises SpecError if there is none."""
    names = [_best(state)] if wanted == BEST else list(state.records) if wanted == ALL else [_named(state, wanted)]
    records = [state.records[name] for name in names]
    found = [Trained(record.trial.name, record.trial.config, part_folders(folder, record)) for record in records]
    if not (usable := [trial for trial in found if trial.usable]):
        status = f" ({state.records[names[0]].status})" if len(names) == 1 else ""
        raise SpecError([Issue("--trial", f"{wanted}: no checkpoint under {folder / 'trials'} yet{status}")])
    return usable


def of_train(folder: Path) -> list[Trained]:
    """The trial in a folder of `gramtune train`. Raises SpecError if it cannot be used."""
    file = folder / CONFIG_FILE
    try:
        for plugin in json.loads(found.read_text()) if (found := folder / PLUGINS_FILE).exists() else []:
            Plugin.model_validate(plugin)
        config = TrialConfig.model_validate_json(file.read_bytes())
    except (OSError, ValueError) as error:  # ValidationError is one
        reason = next(iter(str(error).splitlines()))
        raise SpecError([Issue(str(file), f"is not a configuration of this version of gramtune ({reason})")]) from None
    if not checkpoints(folder):
        raise SpecError([Issue(str(folder), "has no checkpoint yet")])
    return [Trained(folder.name, config, {0: folder})]


def load(trial: Trained) -> Generators:
    """The networks in the newest readable checkpoint of each folder. Raises SpecError if a folder has none."""
    loaded = [found for first, folder in trial.folders.items() if (found := _newest(trial, first, folder))]
    if not loaded:
        gone = ", ".join(map(str, trial.folders.values()))
        raise SpecError([Issue(trial.name, f"the checkpoints in {gone} were deleted")])
    networks, steps, diverged = (dict(ChainMap(*parts)) for parts in zip(*reversed(loaded), strict=True))
    return Generators(networks, steps, diverged)


def _newest(trial: Trained, first: int, folder: Path) -> Generators | None:
    issues = []
    for path in judged_checkpoints(folder):
        try:
            return load_generators(trial.config, path, first)
        except CheckpointError as error:  # damaged, or replaced by a running trial
            issues.append(Issue(trial.name, str(error)))
    if issues:
        raise SpecError(issues)
    return None


def _named(state: SweepState, wanted: str) -> str:
    """The name of the trial with this name or number. Raises SpecError."""
    names = list(state.records)
    if wanted in state.records:
        return wanted
    if wanted.isdecimal() and int(wanted) < len(names):
        return names[int(wanted)]
    rule = f"{wanted!r} is not a trial of {state.plan.sweep.name}; legal numbers: 0 to {len(names) - 1}"
    raise SpecError([Issue("--trial", rule + did_you_mean(wanted, [BEST, *names]))])


def _best(state: SweepState) -> str:
    if state.best is not None:
        return state.best.trial.name
    several = len(state.plan.metrics) > 1
    reason = "several metrics have no single best" if several else "no trial is completed yet"
    if not state.comparable:
        reason = "trials with different data, samples or lengths have no common best"
    raise SpecError([Issue("--trial best", f"{reason}; name one of {', '.join(state.records)}")])
