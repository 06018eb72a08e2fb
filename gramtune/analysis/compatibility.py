"""Checks that sweeps can be compared: same metric, features, number of samples, length and data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gramtune.analysis.labels import judge_text
from gramtune.errors import Issue, SpecError
from gramtune.record.state import SweepState
from gramtune.record.tables import VERSIONS_FILE


@dataclass(frozen=True)
class NamedSweep:
    """A sweep, its folder and a unique name."""

    name: str
    """The sweep's name; the folder if two sweeps have the same name."""
    folder: Path
    state: SweepState


def named_sweeps(states: Sequence[tuple[Path, SweepState]]) -> list[NamedSweep]:
    """The sweeps with unique names. Raises SpecError if a folder is given twice."""
    folders = [folder.resolve() for folder, _ in states]
    if repeated := [folder for i, folder in enumerate(folders) if folder in folders[:i]]:
        raise SpecError([Issue(str(repeated[0]), "is given twice")])
    names = [state.plan.sweep.name for _, state in states]
    unique = len(set(names)) == len(names)
    return [
        NamedSweep(name if unique else str(folder), folder, state)
        for name, (folder, state) in zip(names, states, strict=True)
    ]


def check_comparable(sweeps: Sequence[NamedSweep]) -> None:
    """Raises SpecError, one line per sweep and difference from the first, if the values are not comparable."""
    first, *others = sweeps
    facts = _facts(first)
    issues = [
        Issue(str(other.folder), f"not comparable with {first.folder}: {what} {theirs} there, {facts[what]} here")
        for other in others
        for what, theirs in _facts(other).items()
        if theirs != facts[what]
    ]
    if issues:
        raise SpecError(issues)


def _facts(sweep: NamedSweep) -> dict[str, str]:
    """The properties that must be equal, in words. Data and features by fingerprint, if the sweep recorded it."""
    state = sweep.state
    configs = [record.trial.config for record in state.records.values()] or [state.plan.config]
    samples = sorted({config.training.eval_samples for config in configs})
    recorded = _versions(sweep.folder)
    needed = {metric.extractor for metric in state.plan.config.computing([state.plan.metric])}
    extractors = recorded.get("extractors", {})
    return {
        "judge": judge_text(state.plan.sweep.judge) or "last checkpoint",
        "metric": f"{state.plan.metric} ({state.plan.config.directions[state.plan.metric]}imised)",
        "features": ", ".join(f"{name} {extractors.get(name, '')}".strip() for name in sorted(needed)),
        "real data": ", ".join(
            recorded.get("references", {}).get(metric.name, metric.against)
            for metric in state.plan.config.computing([state.plan.metric])
        ),
        "samples per value": ", ".join(f"{count:,}" for count in samples),
        "training steps": ", ".join(f"{count:,}" for count in sorted({c.training.steps for c in configs})),
        "data": ", ".join(recorded.get("data", sorted({config.data.name for config in configs}))),
    }


def _versions(folder: Path) -> Mapping[str, Any]:
    file = folder / VERSIONS_FILE
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found
