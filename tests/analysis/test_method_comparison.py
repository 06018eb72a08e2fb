"""Two methods along one key: which is less sensitive, and the error rate of that claim."""

import numpy as np
from states import complete, sweep_state

from gramtune.analysis.method_comparison import method_comparisons
from gramtune.report.text.summary import verdict_lines

CASES = "  method:\n    cases:\n      a: {objective.ridge: 1e-3}\n      b: {objective.ridge: 1e-2}\n"
DOMAINS = "  objective.critic_dim: {grid: [1, 4, 16]}\n" + CASES


def two_methods(tmp_path, worst, noise=0.02, replicates=5, seed=0):
    """Method a is flat up to a worst value, b the same with its own."""
    state, rng = sweep_state(tmp_path, DOMAINS, replicates=replicates), np.random.default_rng(seed)
    for name, record in state.records.items():
        assignment = record.trial.assignment
        mean = 100 * (worst[assignment["method"]] if assignment["objective.critic_dim"] == 16 else 1.0)
        complete(state, name, *[(mean * np.exp(noise * rng.standard_normal(replicates))).tolist()] * 3)
    return state


def test_a_flat_method_is_less_sensitive_than_one_with_a_cliff(tmp_path):
    state = two_methods(tmp_path, {"a": 1.0, "b": 3.0})
    (row,) = method_comparisons(state)
    low, high = row.interval
    assert row.methods == ("method = a", "method = b")
    assert 0 < low < np.log(3.0) < high
    text = "\n".join(verdict_lines(state))
    assert "method = a against method = b along critic_dim: method = a is less sensitive, by a factor of" in text


def test_equal_methods_are_not_told_apart(tmp_path):
    low, high = method_comparisons(two_methods(tmp_path, {"a": 1.5, "b": 1.5}))[0].interval
    assert low < 0 < high


def test_a_wrong_interval_is_rare(tmp_path):
    """The true difference is log 1.2. P(more than 8 of 60 wrong) is below 0.01 at a rate of 5 %."""
    wrong = 0
    for seed in range(60):
        low, high = method_comparisons(two_methods(tmp_path, {"a": 1.25, "b": 1.5}, 0.1, 6, seed))[0].interval
        wrong += not low <= np.log(1.2) <= high
    assert wrong <= 8
