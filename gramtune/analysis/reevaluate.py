"""Re-evaluates trained generators with more samples, other metrics or more noise draws than the sweep used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import pandas as pd
import torch

from gramtune.analysis.checkpoints import Trained, load
from gramtune.components import Metric
from gramtune.errors import Issue, SpecError, did_you_mean
from gramtune.io import write_atomically
from gramtune.record.report import Summary, summarise
from gramtune.record.tables import csv_writer
from gramtune.registry import classes, create
from gramtune.training.config import TrialConfig
from gramtune.training.evaluator import Evaluator
from gramtune.training.generator import draw_samples
from gramtune.training.real_data import RealData

EVALUATIONS_FILE = "evaluations.csv"
"""Name of the file in the sweep's folder; the sweep's own results never change."""
_KEY = ["trial", "replicate", "seed", "step", "noise", "metric", "samples"]


class Row(NamedTuple):
    """One value. `noise` numbers the draws of noise; draw 0 is the one that the sweep evaluated."""

    trial: str
    replicate: int
    seed: int
    step: int
    noise: int
    metric: str
    samples: int
    value: float


def with_metrics(config: TrialConfig, names: Iterable[str]) -> TrialConfig:
    """The configuration with these metrics; known ones keep their settings. Raises SpecError for an unknown name."""
    own = {metric.name: metric for metric in config.metrics}
    if unknown := [name for name in names if name not in classes(Metric)]:
        legal = classes(Metric)
        issues = [Issue("--metrics", f"{name!r} does not exist" + did_you_mean(name, legal)) for name in unknown]
        raise SpecError(issues)
    if timed := [name for name in names if not classes(Metric)[name].needs_samples]:
        text = f"{', '.join(timed)} is measured during training; it cannot be evaluated again"
        raise SpecError([Issue("--metrics", text)])
    chosen = tuple(own.get(name) or create(Metric, name) for name in dict.fromkeys(names))
    return config.model_copy(update={"metrics": chosen, "metric": next(iter(chosen[0].directions))})


def evaluate(
    trial: Trained, root: Path, device: torch.device, samples: int, noises: int, real: RealData | None = None
) -> Iterator[Row]:
    """Every metric of every replicate that has not diverged, for `noises` draws of noise. `real`: see `Evaluator`.

    Raises SpecError if there is no checkpoint, or if there are too few samples to compute a metric.
    """
    generators = load(trial)
    evaluator = Evaluator(trial.config, root, device, real)
    for replicate, generator in generators.networks.items():
        seed = trial.config.training.seed + replicate
        for noise in range(noises):
            purpose = "evaluate" if noise == 0 else f"evaluate {noise}"
            fake = draw_samples(trial.config, generator, samples, seed, purpose, device)
            try:
                scores = evaluator.scores(fake)
            except ArithmeticError as error:
                raise SpecError([Issue(trial.name, f"replicate {replicate}: {error}")]) from None
            except ValueError as error:
                raise SpecError([Issue("--samples", str(error))]) from None
            for metric, value in scores.items():
                yield Row(trial.name, replicate, seed, generators.steps[replicate], noise, metric, samples, value)


def store(rows: Iterable[Row], folder: Path) -> Path:
    """Adds the rows to `evaluations.csv`; a repeated row replaces the old. Raises SpecError if unwritable."""
    path = folder / EVALUATIONS_FILE
    frame = pd.DataFrame(list(rows), columns=list(Row._fields))
    try:
        before = pd.read_csv(path, dtype={"trial": "str"}) if path.exists() else frame.iloc[:0]
        if list(before.columns) != list(Row._fields):
            raise ValueError(f"its columns should be {', '.join(Row._fields)}")
        both = pd.concat([before, frame], ignore_index=True) if len(before) else frame
        write_atomically(path, csv_writer(both.drop_duplicates(_KEY, keep="last")))
    except (OSError, ValueError) as error:
        raise SpecError([Issue(str(path), f"cannot be extended: {error}")]) from None
    return path


@dataclass(frozen=True)
class Line:
    """One metric of one trial over its replicates; a replicate's value is its mean over noise draws."""

    trial: str
    metric: str
    step: int
    summary: Summary
    noise_std: float | None
    """Standard deviation over noise draws within a replicate (root mean square over replicates); None for one draw."""


def lines(rows: Iterable[Row]) -> list[Line]:
    """One line per trial and metric, in the order of the rows."""
    grouped: dict[tuple[str, str, int], dict[int, list[float]]] = {}
    for row in rows:
        grouped.setdefault((row.trial, row.metric, row.step), {}).setdefault(row.replicate, []).append(row.value)
    return [_line(key, by_replicate) for key, by_replicate in grouped.items()]


def _line(key: tuple[str, str, int], by_replicate: dict[int, list[float]]) -> Line:
    trial, metric, step = key
    summary = summarise([fmean(values) for values in by_replicate.values()])
    assert summary is not None, "a key has rows"
    variances = [stdev(values) ** 2 for values in by_replicate.values() if len(values) > 1]
    return Line(trial, metric, step, summary, fmean(variances) ** 0.5 if variances else None)
