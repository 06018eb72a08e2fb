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


def test_pairs_that_are_told_apart_come_first_and_the_sentence_on_replicates_comes_once(tmp_path):
    domains = "  objective.critic_dim: {grid: [1, 4, 16]}\n  objective.ridge: {grid: [1e-3, 2e-3, 3e-3, 4e-3]}\n"
    state, rng = sweep_state(tmp_path, domains, replicates=5), np.random.default_rng(0)
    for name, record in state.records.items():
        cliff = 3.0 if record.trial.assignment == {"objective.critic_dim": 16, "objective.ridge": 4e-3} else 1.0
        complete(state, name, *[(100 * cliff * np.exp(0.02 * rng.standard_normal(5))).tolist()] * 3)
    lines = verdict_lines(state)
    along = [line for line in lines if " along critic_dim:" in line]
    assert len([line for line in along if "ridge = 0.004 along critic_dim: ridge = 0.00" in line]) == 3
    assert len([line for line in along if "neither is shown" in line]) == 3  # three pairs are still written out
    assert sum("5 replicates of each value" in line for line in lines) == 1


def test_of_many_pairs_that_are_not_told_apart_only_the_number_is_printed(tmp_path):
    """With two grids, each value of one is a method along the other: eleven values are 55 pairs."""
    domains = "  objective.critic_dim: {grid: [1, 4, 16]}\n  objective.ridge: {grid: [1e-3, 2e-3, 3e-3, 4e-3]}\n"
    state, rng = sweep_state(tmp_path, domains, replicates=5), np.random.default_rng(0)
    for name in state.records:
        complete(state, name, *[(100 * np.exp(0.02 * rng.standard_normal(5))).tolist()] * 3)
    text = "\n".join(verdict_lines(state))
    assert "Along critic_dim, none of 6 pairs is shown to differ in sensitivity." in text
    assert "along critic_dim:" not in text
