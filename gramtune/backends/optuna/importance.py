"""Computes importances with Optuna: how much each varied key determines whether a trial is among the best."""

from __future__ import annotations

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from gramtune.analysis.importance import Importances, final_mean
from gramtune.backends.optuna.search import distribution, encoded
from gramtune.record.report import Status
from gramtune.record.state import SweepState
from gramtune.space.domain import Domain

_TOP, _FEWEST = 0.1, 5
"""Best trials: a tenth of all, but at least five, because fewer do not have a distribution."""


def importances(state: SweepState) -> Importances:
    """PED-ANOVA (Watanabe et al. 2023) over completed, pruned and diverged trials; conditional keys included.

    It compares the distribution of a key among the best trials with that among all. Only the order of trials counts,
    so pruned and diverged trials, which have no final value, are placed after all completed ones. Call it only if
    `unknown` is empty.
    """
    metric = state.plan.metric
    minimised = state.plan.config.directions[metric] == "min"
    scored = [(final_mean(record, metric), record) for record in state.completed]
    values = [value for value, _ in scored]
    beyond = max(values) + 1.0 if minimised else min(values) - 1.0
    worse = [r for r in state.records.values() if r.status in (Status.PRUNED, Status.PAUSED, Status.DIVERGED)]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize" if minimised else "maximize")
    distributions = {key: _distribution(domain) for key, domain in state.plan.sweep.space.items()}
    for value, record in [*scored, *((beyond, record) for record in worse)]:
        params = {key: encoded(chosen) for key, chosen in record.trial.assignment.items()}
        present = {key: distributions[key] for key in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=present, value=value))
    count = len(study.trials)
    top = max(_TOP, min(0.5, _FEWEST / count))
    known = [key for key in distributions if any(key in trial.params for trial in study.trials)]
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=top), params=known)
    shares = {key: found.get(key, 0.0) for key in distributions}
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    name = f"Optuna {optuna.__version__}, PED-ANOVA of {metric}"
    return Importances(ordered, name, len(scored), len(worse), round(top * count))


def _distribution(domain: Domain) -> BaseDistribution:
    """Optuna's distribution of a domain; listed numbers keep their order, unlike categories."""
    values = domain.values
    if values and len(values) > 1 and all(type(value) in (int, float) for value in values):
        return FloatDistribution(float(min(values)), float(max(values)))
    return distribution(domain)
