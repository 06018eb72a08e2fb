import math

import pytest

from gramtune.sweep.paired import t_quantile
from gramtune.sweep.pruning import Rungs
from gramtune.sweep.spec import Pruner
from gramtune.sweep.state import Report, Status


def report(step, values, status=Status.RUNNING):
    return Report(step, {"m": values}, {}, 100, 1.0, 0, status, "")


def rungs(direction="min", max_steps=1000, eval_every=100, **pruner):
    return Rungs(Pruner(**pruner), max_steps, eval_every, direction)


def stopped(judge, arrivals, step=100):
    """Names of the trials that are stopped, when they reach the step in this order."""
    return [name for name, values in arrivals if judge.decide(name, report(step, values), "m")]


def test_t_quantile_is_students():
    scipy_stats = pytest.importorskip("scipy.stats")
    for degrees in (1, 2, 9, 50):
        for confidence in (0.5, 0.9, 0.95, 0.99):
            expected = scipy_stats.t.ppf((1 + confidence) / 2, degrees)
            assert t_quantile(degrees, confidence) == pytest.approx(expected, rel=1e-4)


def test_rungs_are_geometric_on_the_grid_of_evaluations():
    assert rungs(name="asha").steps("x") == [100, 400]
    assert rungs(name="asha", min_steps=150, reduction_factor=2).steps("x") == [200, 400, 800]
    assert rungs(name="median", min_steps=300).steps("x") == list(range(300, 1000, 100))
    assert rungs(name="none").steps("x") == []
    brackets = {tuple(rungs(name="hyperband", reduction_factor=3).steps(f"trial {i}")) for i in range(50)}
    assert brackets == {(100, 300, 900), (300, 900), (900,)}


def test_asha_keeps_the_best_share_of_those_that_came_so_far():
    arrivals = [("a", [5.0]), ("b", [6.0]), ("c", [4.0]), ("d", [7.0]), ("e", [3.0])]
    assert stopped(rungs(name="asha"), arrivals) == ["b", "d"]
    best_half = [("a", [1.0]), ("b", [2.0]), ("c", [3.0]), ("d", [1.5])]
    assert stopped(rungs(name="asha", reduction_factor=2), best_half) == ["b", "c"]


def test_more_is_better_turns_everything_round():
    arrivals = [("a", [5.0]), ("b", [6.0]), ("c", [4.0])]
    assert stopped(rungs("max", name="asha"), arrivals) == ["c"]


def test_median_stops_what_is_worse_than_the_median_of_the_others():
    arrivals = [("a", [1.0]), ("b", [3.0]), ("c", [1.5]), ("d", [2.5]), ("e", [1.2])]
    assert stopped(rungs(name="median"), arrivals) == ["b", "d"]


def test_nobody_is_judged_off_the_rungs_or_at_the_end():
    judge = rungs(name="asha")
    judge.decide("a", report(100, [1.0]), "m")
    assert judge.decide("b", report(200, [9.0]), "m") == ""
    assert judge.decide("b", report(100, [9.0], Status.COMPLETED), "m") == ""
    assert judge.decide("b", report(100, [None]), "m") == ""
    assert judge.decide("b", report(100, [9.0]), "m").startswith("asha at step 100: m 9 is worse than 1")


def test_the_noise_aware_rule_lets_a_close_trial_go_on_and_stops_a_clear_one():
    base = ("a", [10.0, 20.0, 30.0])
    close = ("b", [11.0, 19.5, 31.0])  # mean difference 0.5, its standard error 0.5
    clear = ("c", [15.0, 25.1, 35.0])  # every replicate 5 worse: paired, though the spread over seeds is 10
    assert stopped(rungs(name="asha"), [base, close, clear]) == ["b", "c"]
    assert stopped(rungs(name="asha", false_prune_rate=0.05), [base, close, clear]) == ["c"]


def test_the_false_prune_rate_is_kept():
    import random

    rng = random.Random(0)
    rate, wrong, n = 0.1, 0, 2000
    for i in range(n):
        judge = rungs(name="asha", false_prune_rate=rate)
        same = [[rng.gauss(0, 1) for _ in range(3)] for _ in range(2)]
        wrong += bool(stopped(judge, [("a", same[0]), (f"b{i}", same[1])]))
    assert wrong / n < rate + 3 * math.sqrt(rate * (1 - rate) / n)
    assert wrong / n > rate / 2
