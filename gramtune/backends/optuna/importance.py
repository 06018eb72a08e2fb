"""Parameter importances by Optuna: which varied key explains how much of the metric's variance."""

from __future__ import annotations

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from gramtune.analysis.importance import Importances, complete_keys, final_mean
from gramtune.backends.optuna.search import distribution, encoded
from gramtune.record.report import summarise
from gramtune.record.state import SweepState, TrialRecord
from gramtune.space.domain import Domain

_MOST = 200
"""Completed trials that are looked at, evenly spaced: with 1,000, fANOVA took more than five minutes."""
_SEEDS = 5


def importances(state: SweepState) -> Importances:
    """fANOVA (Hutter et al. 2014) over the completed trials, with the spread over seeds of its random forest.

    Keys that some completed trial lacks are left out: the evaluator needs every value of every trial. Only where
    `unknown` has nothing to say.
    """
    metric, records, keys = state.plan.metric, state.completed, complete_keys(state)
    left_out = tuple(key for key in state.plan.sweep.space if key not in keys)
    records = records[:: -(-len(records) // _MOST)]
    study = _study(records, state, keys)
    runs = [
        get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed), params=keys)
        for seed in range(_SEEDS)
    ]
    shares = {key: summary for key in keys if (summary := summarise([run[key] for run in runs]))}
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1].mean))
    return Importances(ordered, f"Optuna {optuna.__version__}, fANOVA of {metric}", len(records), _SEEDS, left_out)


def _study(records: list[TrialRecord], state: SweepState, keys: list[str]) -> optuna.Study:
    """These trials in memory."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    distributions = {key: _distribution(state.plan.sweep.space[key]) for key in keys}
    for record in records:
        params = {key: encoded(record.trial.assignment[key]) for key in keys}
        mean = final_mean(record, state.plan.metric)
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=mean))
    return study


def _distribution(domain: Domain) -> BaseDistribution:
    """As it is searched; listed numbers have an order, which a category would lose."""
    values = domain.values
    if values and len(values) > 1 and all(type(value) in (int, float) for value in values):
        return FloatDistribution(float(min(values)), float(max(values)))
    return distribution(domain)
