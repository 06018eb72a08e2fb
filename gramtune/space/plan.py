"""The plan of a sweep: its trials and what they need."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np

from gramtune.components import Course, Dataset, Metric, Pruner, Unavailable, kind_of
from gramtune.errors import Issue, Path, SpecError
from gramtune.space.domain import Assignment, corner_assignment, grid_assignments, size_of
from gramtune.space.sweep import Sweep
from gramtune.space.validate_space import CORNERS
from gramtune.training.batches import check_epochs
from gramtune.training.config import TrialConfig
from gramtune.training.networks import build_networks
from gramtune.training.real_data import statistics_digest

Check = tuple[Path, Callable[[], object]]
"""A part of a configuration and a check of it that raises ValueError; the message is the issue."""


class ConfigIssue(NamedTuple):
    """An issue of a configuration that the models accept, for example a network that does not fit the data."""

    part: Path
    message: str


@dataclass(frozen=True)
class PlannedTrial:
    """One configuration of a sweep and its name, which is the same everywhere."""

    name: str
    assignment: Assignment
    config: TrialConfig
    first: int = 0
    """The first replicate of `config`: above 0 if replicates are added to a finished trial."""

    def of(self, replicates: int) -> PlannedTrial:
        """The trial with this number of replicates, if it has fewer."""
        training = self.config.training
        update = {"replicates": max(training.replicates, replicates)}
        return replace(self, config=self.config.model_copy(update={"training": training.model_copy(update=update)}))

    def since(self, first: int) -> PlannedTrial:
        """The trial with only its replicates from `first` on; they keep their seeds, so their numbers are the same."""
        training = self.config.training
        update = {"seed": training.seed + first, "replicates": training.replicates - first}
        config = self.config.model_copy(update={"training": training.model_copy(update=update)})
        return replace(self, config=config, first=first)


@dataclass(frozen=True)
class Plan:
    """A sweep, the trials known before it starts, and their common properties."""

    sweep: Sweep
    trials: tuple[PlannedTrial, ...]
    """All trials of a grid; empty if trials are sampled."""
    config: TrialConfig
    """One configuration of the sweep, for its metric, directions, data and length."""
    warnings: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """The primary metric: the first if several are optimised."""
        return self.config.metric

    @property
    def metrics(self) -> tuple[str, ...]:
        """The optimised metrics: one or two."""
        return self.sweep.metric or (self.config.metric,)

    @property
    def size(self) -> int:
        """Total number of trials."""
        return len(self.trials) if self.sweep.search.name == "grid" else self.sweep.search.samples


def make_plan(sweep: Sweep, root: FilePath) -> Plan:
    """The trials of a sweep, checked against the data and weights in the folder `root`.

    Raises SpecError if networks, data or feature weights do not fit or are missing.
    """
    sample, plan = sampled(sweep, CORNERS), recorded_plan(sweep)
    found = issues_of([trial.config for trial in sample], root)
    # Numbers of samples, unlike networks, are quick to check, so every trial of a grid is checked.
    found += _refusals(check for trial in plan.trials for check in _count_checks(trial.config))
    if found := list(dict.fromkeys(found)):
        raise SpecError([Issue(sweep.where_trial(part), message) for part, message in found])
    warnings = tuple(dict.fromkeys(warning for trial in sample for warning in sample_warnings(trial.config)))
    return replace(plan, warnings=(*sweep.idle, *search_warnings(plan), *warnings))


def recorded_plan(sweep: Sweep) -> Plan:
    """The plan of a sweep that was checked before; data and weights need not be on this machine."""
    trials = tuple(all_trials(sweep)) if sweep.search.name == "grid" else ()
    return Plan(sweep, trials, (trials or sampled(sweep, 1))[0].config)


def planned(sweep: Sweep, assignment: Assignment) -> PlannedTrial:
    """The trial with these values."""
    return PlannedTrial(trial_name(assignment), assignment, sweep.config(assignment))


def all_trials(sweep: Sweep) -> list[PlannedTrial]:
    """Every trial of a grid."""
    return [planned(sweep, assignment) for assignment in grid_assignments(sweep.space, sweep.base)]


def sampled(sweep: Sweep, n: int) -> list[PlannedTrial]:
    """At most n trials to check: the first, the last and some others of a grid; corners and random points of ranges."""
    rng = random.Random(0)
    if sweep.search.name == "grid":
        trials = all_trials(sweep)
        return trials if len(trials) <= n else [trials[0], trials[-1], *rng.sample(trials, n - 2)]
    return [planned(sweep, corner_assignment(sweep.space, sweep.base, rng)) for _ in range(n)]


def trial_name(assignment: Assignment) -> str:
    """A trial's name such as `critic_dim=16,learning_rate=0.001`: depends only on the values; legal as a folder name.

    Keys are shortened to their last part if that is unambiguous. A name that is too long ends in a digest.
    """
    leaves = [key.rsplit(".", 1)[-1] for key in assignment]
    keys = leaves if len(set(leaves)) == len(leaves) else list(assignment)
    name = ",".join(f"{key}={_text(value)}" for key, value in zip(keys, assignment.values(), strict=True))
    name = name or "base"  # no key is active
    legal = re.sub(r"[^A-Za-z0-9.,=_+-]", "_", name)
    if legal == name and len(name) <= 100:
        return name
    digest = hashlib.sha256(json.dumps(dict(assignment), sort_keys=True, default=str).encode()).hexdigest()
    return f"{legal[:90]}-{digest[:8]}"


def issues_of(configs: Sequence[TrialConfig], root: FilePath) -> list[ConfigIssue]:
    """Issues that the models cannot find: networks and extractors against shapes, metrics against data, missing files.

    Each file is read once for all configurations: a checksum of CIFAR-10 takes a second.
    """
    data = {config.data.model_dump_json(): config.data for config in configs}
    extractors = {metric.extractor: (i, config) for config in configs for i, metric in enumerate(config.metrics)}
    epochs = {(c.data.model_dump_json(), c.training.batch_size): c for c in configs if c.training.sampling == "epochs"}
    needing = {key: [m for c in configs if c.data == dataset for m in c.metrics] for key, dataset in data.items()}
    files: list[Check] = [(("data",), partial(_try_data, data[key], needing[key], root)) for key in data]
    files += [(("metrics", i), partial(c.extractors[name].check, root)) for name, (i, c) in extractors.items()]
    stored = {(m.name, m.against): (i, m, c) for c in configs for i, m in enumerate(c.metrics)}
    files += [(("metrics", i), partial(_try_statistics, m, c, root)) for i, m, c in stored.values()]
    files += [(("training", "batch_size"), partial(_try_epochs, config, root)) for config in epochs.values()]
    own = [check for config in configs for check in (*_shape_checks(config), *_count_checks(config))]
    return list(dict.fromkeys(_refusals([*own, *files])))


def _shape_checks(config: TrialConfig) -> list[Check]:
    shape = config.data.shape
    metrics = [(("metrics", i), metric) for i, metric in enumerate(config.metrics)]
    return [
        (("data",), partial(kind_of, shape)),
        (("network",), partial(_try_networks, config)),
        *((part, partial(config.extractors[metric.extractor].dim, shape)) for part, metric in metrics),
        *((part, partial(metric.check, config.data)) for part, metric in metrics),
    ]


def _count_checks(config: TrialConfig) -> list[Check]:
    return [(("training", "eval_samples"), partial(_try_generated, m, config)) for m in config.metrics]


def _try_generated(metric: Metric, config: TrialConfig) -> None:
    """Raises ValueError if there are too few generated samples to compute the metric."""
    needed, samples = metric.least[0], config.training.eval_samples
    if samples < needed:
        rule = f"metric {metric.name} needs {needed} or more generated samples"
        raise ValueError(f"training.eval_samples is {samples}: {rule}")


def _try_data(dataset: Dataset, metrics: Sequence[Metric], root: FilePath) -> None:
    """Raises ValueError if files are missing, or too few samples are held out to compute a metric."""
    dataset.check(root)
    compared = [metric for metric in metrics if metric.against == "held_out"]
    needed = {m.name: m.least[1] for m in sorted(compared, key=lambda metric: metric.least[1])}
    held_out = dataset.held_out_size(root) if any(needed.values()) else 0
    if lacking := [f"{name} needs {least} or more" for name, least in needed.items() if held_out < least]:
        raise ValueError(f"data set {dataset.name} holds out {held_out} samples: metric {', '.join(lacking)}")


def _try_statistics(metric: Metric, config: TrialConfig, root: FilePath) -> None:
    """Raises ValueError if the metric's file of statistics is missing or does not fit."""
    if statistics_digest(metric, root):
        metric.statistics(root / metric.against, config.extractors[metric.extractor].dim(config.data.shape))


def _try_networks(config: TrialConfig) -> None:
    """Raises ValueError if the networks do not fit the data, or have a layer that is too large for torch."""
    try:
        build_networks(config, config.data.shape)
    except (RuntimeError, TypeError, OverflowError) as error:
        rule = "has a layer that is too large for torch"
        raise ValueError(f"network {config.network.name} {rule}: {str(error).splitlines()[0]}") from error


def _try_epochs(config: TrialConfig, root: FilePath) -> None:
    """Raises ValueError if a minibatch is larger than the training set; missing files are reported separately."""
    try:
        n = config.data.train_size(root)
    except Unavailable:
        return
    check_epochs(config.training.batch_size, n)


def _refusals(checks: Iterable[Check]) -> list[ConfigIssue]:
    found = []
    for part, check in checks:
        try:
            check()
        except ValueError as error:  # Unavailable is one
            found.append(ConfigIssue(part, str(error)))
    return found


def measured_by(config: TrialConfig, metrics: Iterable[str]) -> tuple[Dataset, tuple[Metric, ...], int]:
    """What the values of a trial are computed from: data, metrics and number of samples."""
    return config.data, config.computing(metrics), config.training.eval_samples


def search_warnings(plan: Plan) -> list[str]:
    """Limitations of the search of a sweep, one line each."""
    sweep, warnings = plan.sweep, []
    search = sweep.search
    if drawn := _drawn_at_random(sweep):
        warnings.append(drawn)
    size = None if search.name == "grid" else size_of(sweep.space, sweep.base, search.samples)
    if size is not None and size < search.samples:
        warnings.append(f"the space holds {size} configurations; samples = {search.samples} cannot be reached")
    if search.synchronous and not search.learns and sweep.pruner.name == "none":
        alone = f"{search.name} does not learn from results, and no trial is pruned"
        warnings.append(f"search.synchronous has no effect: {'pbt always is' if sweep.is_population else alone}")
    warnings += _incomparable(sweep)
    pruner, trials = sweep.pruner, plan.size if size is None else min(size, plan.size)
    if why := pruner.never_stops(sweep.min_replicates):
        warnings.append(why)
    if pruner.name != "none" and not pruner.pauses and pruner.least_trials > trials:
        needs = f"pruner {pruner.name} needs {pruner.least_trials} trials at a rung"
        warnings.append(f"{needs}; the sweep has {trials}, so the pruner never decides")
    if pruner.name != "none" and not any(_rungs(pruner, trial) for trial in sampled(sweep, CORNERS)):
        steps = max(trial.config.training.steps for trial in sampled(sweep, CORNERS))
        warnings.append(f"pruner {pruner.name} begins after the last of {steps} steps, so the pruner never decides")
    return warnings


def _incomparable(sweep: Sweep) -> list[str]:
    """What compares trials whose values are not comparable, one line each: a sampler that learns, and a pruner."""
    configs = [trial.config for trial in sampled(sweep, CORNERS)]
    metrics = sweep.metric or (configs[0].metric,)
    bases = {measured_by(config, metrics) for config in configs}
    lengths = {c.training.steps for c in configs}
    lines = []
    if sweep.search.learns and (len(bases) > 1 or len(lengths) > 1):
        rule = "values on different data, metrics, samples or lengths are not comparable"
        lines.append(f"{sweep.search.name} learns from all trials alike, but {rule}: random does not compare them")
    if sweep.pruner.name != "none" and len(bases) > 1:
        lines.append(f"pruner {sweep.pruner.name} compares trials with the same data, metrics and samples only")
    return lines


def _drawn_at_random(sweep: Sweep) -> str:
    """One line that names the keys for which Optuna's sampler draws independent values; empty if there are none."""
    name, space = sweep.search.name, sweep.space
    conditional = [key for key, domain in space.items() if domain.when]
    if name == "cmaes":
        blind = [key for key, domain in space.items() if domain.values is not None or domain.when]
        return f"cmaes draws {', '.join(blind)} at random: it learns numbers without `when` only" if blind else ""
    if conditional and name in ("gp", "nsga2"):
        return f"{name} draws {', '.join(conditional)} at random: it learns keys without `when` only; tpe learns both"
    if conditional and name == "qmc":
        return f"qmc may draw {', '.join(conditional)} at random: its sequence has the keys of the first trial only"
    return ""


def _rungs(pruner: Pruner, trial: PlannedTrial) -> Sequence[int]:
    return pruner.steps(trial.name, Course(trial.config.training.steps, trial.config.judged_every))


def sample_warnings(config: TrialConfig, samples: int | None = None) -> list[str]:
    """One warning per metric with too few samples for its features. Default of `samples`: training.eval_samples."""
    warnings = []
    samples = config.training.eval_samples if samples is None else samples
    for metric in config.metrics:
        dim = config.extractors[metric.extractor].dim(config.data.shape)
        needed, reason = metric.min_samples(config.data, dim)
        if samples < needed:
            warnings.append(
                f"{metric.name}: {samples} generated samples for {dim} features; below {needed} "
                f"{reason} (training.eval_samples)"
            )
    return warnings


def separable_gap(replicates: int) -> float:
    """Smallest difference of two trials' means that R ≥ 2 replicates can separate, in standard deviations over seeds.

    δ with P(|T| > t) = 80 % for T noncentral t with ν = R − 1 degrees of freedom and noncentrality δ·√(R/2), where t is
    Student's two-sided 5 % quantile: the power of the paired t test that the report uses, for uncorrelated trials. It
    is the mean over s, χ_ν/√ν, of P(Z > t·s − noncentrality); scipy's own noncentral t is NaN for few degrees.
    Infinite for R = 1.
    """
    from scipy.optimize import brentq  # scipy.stats takes a second to import
    from scipy.stats import chi2, norm, t

    if replicates < 2:
        return math.inf
    degrees = replicates - 1
    limit = float(t.ppf(0.975, degrees))
    spread = limit * np.sqrt(chi2.ppf((np.arange(4000) + 0.5) / 4000, degrees) / degrees)

    def lack(noncentrality: float) -> float:
        return float(np.mean(norm.sf(spread - noncentrality) + norm.cdf(-spread - noncentrality))) - 0.8

    return float(brentq(lack, 0.0, 10 * limit)) * math.sqrt(2 / replicates)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
