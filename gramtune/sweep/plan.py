"""From a sweep to its trials, and what they will cost."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gramtune.sweep.faults import Fault, SpecError
from gramtune.sweep.space import Assignment, corner_assignment, grid_assignments
from gramtune.sweep.spec import Sweep
from gramtune.training.config import TrialConfig
from gramtune.training.replicate import build_networks
from gramtune.training.trainer import Trainer

_SAMPLE = 64
"""Configurations of the space that are built on the meta device before anything starts."""


class PlannedTrial(NamedTuple):
    """One configuration of a sweep under the name that it has everywhere."""

    name: str
    assignment: Assignment
    config: TrialConfig


class Plan(NamedTuple):
    """A sweep, the trials that are known before it starts, and what they have in common."""

    sweep: Sweep
    trials: tuple[PlannedTrial, ...]
    """All trials of a grid; none where they are sampled."""
    config: TrialConfig
    """One configuration of the sweep: metric, directions, data and length can be read from it."""
    warnings: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """The primary metric."""
        return self.config.metric

    @property
    def size(self) -> int:
        """Number of trials that the sweep will have."""
        return len(self.trials) if self.sweep.search.name == "grid" else self.sweep.search.samples


class Estimate(NamedTuple):
    """A measured guess at what one trial costs, all its replicates together, on one worker."""

    seconds_per_trial: float
    measured_steps: int


def make_plan(sweep: Sweep, root: Path, source: Path) -> Plan:
    """The trials of a sweep, checked; `source` is the file to name in a fault.

    Raises SpecError if networks, data or feature weights do not fit or are missing.
    """
    sample = sampled(sweep, _SAMPLE)
    if faults := [Fault(str(source), message) for trial in sample for message in config_faults(trial.config, root)]:
        raise SpecError(faults)
    warnings = tuple(dict.fromkeys(warning for trial in sample for warning in sample_warnings(trial.config)))
    grid = sweep.search.name == "grid"
    return Plan(sweep, tuple(all_trials(sweep)) if grid else (), sample[0].config, warnings)


def planned(sweep: Sweep, assignment: Assignment) -> PlannedTrial:
    """The trial of these values."""
    return PlannedTrial(trial_name(assignment), assignment, sweep.config(assignment))


def all_trials(sweep: Sweep) -> list[PlannedTrial]:
    """Every trial of a grid."""
    return [planned(sweep, assignment) for assignment in grid_assignments(sweep.space, sweep.inline_base)]


def sampled(sweep: Sweep, n: int) -> list[PlannedTrial]:
    """At most n trials to check: the first, the last and some of a grid's; corners and random points of a range."""
    rng = random.Random(0)
    if sweep.search.name == "grid":
        trials = all_trials(sweep)
        return trials if len(trials) <= n else [trials[0], trials[-1], *rng.sample(trials, n - 2)]
    return [planned(sweep, corner_assignment(sweep.space, sweep.inline_base, rng)) for _ in range(n)]


def trial_name(assignment: Assignment) -> str:
    """`critic_dim=16,learning_rate=0.001`: derived from the configuration alone, legal as a folder name.

    Keys are cut to their last part where that is unambiguous. Whatever does not fit is replaced by a digest.
    """
    leaves = [key.rsplit(".", 1)[-1] for key in assignment]
    keys = leaves if len(set(leaves)) == len(leaves) else list(assignment)
    name = ",".join(f"{key}={_text(value)}" for key, value in zip(keys, assignment.values(), strict=True))
    legal = re.sub(r"[^A-Za-z0-9.,=_+-]", "_", name)
    if legal == name and len(name) <= 100:
        return name
    digest = hashlib.sha256(json.dumps(dict(assignment), sort_keys=True, default=str).encode()).hexdigest()
    return f"{legal[:90]}-{digest[:8]}"


def config_faults(config: TrialConfig, root: Path) -> list[str]:
    """What the models cannot see: networks and extractors against shapes, metrics against data, files on disk."""
    shape = config.data.shape
    checks: list[Callable[[], object]] = [partial(build_networks, config, shape), partial(config.data.check, root)]
    for extractor in config.extractors.values():
        checks += [partial(extractor.dim, shape), partial(extractor.check, root)]
    checks += [partial(metric.check, config.data) for metric in config.metrics]
    faults = []
    for check in checks:
        try:
            check()
        except ValueError as error:  # Unavailable is one
            faults.append(str(error))
    return faults


def sample_warnings(config: TrialConfig) -> list[str]:
    """One line per metric that has too few samples for its features."""
    warnings = []
    for metric in config.metrics:
        dim = config.extractors[metric.extractor].dim(config.data.shape)
        needed, reason = metric.min_samples(config.data, dim)
        if config.training.eval_samples < needed:
            warnings.append(
                f"{metric.name}: {config.training.eval_samples} generated samples for {dim} features; below {needed} "
                f"{reason} (training.eval_samples)"
            )
    return warnings


def separable_gap(replicates: int) -> float:
    """Smallest difference of two trials' means that R replicates separate, in standard deviations over seeds.

    (z₀.₉₇₅ + z₀.₈)·√(2/R): two-sided 5 %, power 80 %.
    """
    return (1.959964 + 0.841621) * math.sqrt(2 / replicates)


def estimate(plan: Plan, root: Path, steps: int = 20) -> Estimate:
    """Measures a few steps and one evaluation of two trials, and scales up to a whole trial."""
    some = sampled(plan.sweep, 2)
    seconds = [_measure(trial.config, root, steps) for trial in (some[0], some[-1])]
    return Estimate(sum(seconds) / len(seconds), steps)


def _measure(config: TrialConfig, root: Path, steps: int) -> float:
    solo = config.model_copy(update={"training": config.training.model_copy(update={"replicates": 1})})
    trainer = Trainer(solo, root, torch.device("cpu"))
    trainer.advance(3)
    trainer.evaluate()  # loads data and features, which later trials find cached
    started = time.perf_counter()
    trainer.advance(steps)
    trained = time.perf_counter()
    trainer.evaluate()
    per_step, per_evaluation = (trained - started) / steps, time.perf_counter() - trained
    evaluations = 1 + math.ceil(config.training.steps / config.training.eval_every)
    return config.training.replicates * (config.training.steps * per_step + evaluations * per_evaluation)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
