"""The sensitivity score on curves with a share known by hand, and in cases that a reviewer would question."""

import math

import numpy as np
import pytest
from states import METHODS, begin, complete, report, sweep_state

from gramtune.analysis.robustness import robustness
from gramtune.analysis.sensitivity_score import Curve, sensitivity
from gramtune.record.report import Status

K = "objective.critic_dim"


def curve(places, *columns):
    return Curve(None if places is None else np.array(places, float), np.array(columns, float).T)


def shares(one, *rivals, direction="min", tolerances=(0.1, 0.25)):
    return sensitivity(one, rivals or [one], direction, tolerances, 500, np.random.default_rng(0))


def values(found):
    return [share.value for share in found.shares]


def test_between_neighbours_the_mean_is_linear():
    # Limits 110 and 125: from 100 up to 200 over one unit, a tenth and a quarter of it; from 0 to 1 all.
    found = shares(curve([0, 1, 2], [100, 100, 200]))
    assert values(found) == pytest.approx([(1 + 0.1) / 2, (1 + 0.25) / 2])
    assert found.best == (100.0, None)  # one seed has no interval
    assert [share.interval for share in found.shares] == [None, None]


def test_uneven_places_weigh_by_their_distance():
    assert values(shares(curve([0, 1, 10], [100, 100, 1000]))) == pytest.approx(
        [(1 + 9 * 10 / 900) / 10, (1 + 9 * 25 / 900) / 10]
    )


def test_inside_means_above_for_a_maximised_metric():
    found = shares(curve([0, 1, 2], [1.0, 1.0, 0.0]), direction="max")
    assert values(found) == pytest.approx([0.55, 0.625])
    assert found.best.value == 1.0


def test_the_score_does_not_depend_on_the_unit():
    one = curve([0, 1, 3], [3, 4, 9], [3.5, 3.6, 8])
    assert shares(one)[1] == shares(Curve(one.places, one.values * 1024.0))[1]  # a power of two: exact


def test_lost_ground_is_outside_up_to_its_neighbours():
    whole = shares(curve([0, 1, 2, 3, 4], [100, 100, 100, 100, 100]))
    lost = shares(curve([0, 1, 2, 3, 4], [100, 100, math.nan, 100, 100], [100, 100, math.nan, 100, 100]))
    assert values(whole) == [1.0, 1.0]
    assert values(lost) == [0.5, 0.5]
    assert lost.shares[0].interval == (0.5, 0.5)  # a draw without one of the seeds must not bring a NaN
    assert values(shares(curve(None, [100, math.nan, 100, 130]))) == [0.5, 0.5]


def test_the_best_is_measured_on_seeds_that_did_not_choose_it():
    """Ten equally good values: the least of their noisy means is far too good, and all would seem outside."""
    rng = np.random.default_rng(1)
    bests, leasts = [], []
    for _ in range(200):
        noisy = 100 + 10 * rng.standard_normal((10, 3))
        found = sensitivity(Curve(np.arange(10.0), noisy), [Curve(None, noisy)], "min", (0.1,), 1, rng)
        bests.append(found.best.value)
        leasts.append(noisy.mean(axis=1).min())
    error = np.std(bests) / math.sqrt(len(bests))
    assert abs(np.mean(bests) - 100) < 4 * error
    assert np.mean(leasts) < 100 - 10 * error


def test_what_a_seed_does_everywhere_does_not_widen_the_interval():
    flat = np.array([[0.0, 0.2], [0.1, 0.0], [0.3, 0.1]])
    seeds = np.array([[100.0, 180.0]])
    paired = shares(Curve(np.arange(3.0), flat + seeds))
    assert [share.interval for share in paired.shares] == [(1.0, 1.0), (1.0, 1.0)]
    low, high = paired.best.interval
    assert low < 100 < 180 < high  # the best value itself is as uncertain as two seeds leave it


def test_a_uniformly_bad_method_is_not_robust_against_the_best_of_all():
    good, bad = curve([0, 1, 2], [10, 20, 30]), curve([0, 1, 2], [100, 101, 100])
    assert values(shares(bad)) == [1.0, 1.0]
    assert values(shares(bad, good, bad)) == [0.0, 0.0]
    assert values(shares(good, good, bad)) == values(shares(good))


@pytest.mark.parametrize("columns", [([-1.0, 2.0],), ([0.0, 1.0],), ([-3.0, 5.0], [9.0, 8.0]), ([math.nan, math.nan],)])
def test_a_best_value_near_zero_gives_no_score(columns):
    assert shares(curve([0, 1], *columns)) is None


def test_equal_input_gives_equal_intervals():
    one = curve([0, 1, 3], [3, 4, 9], [3.5, 3.6, 8], [2.9, 4.4, 11])
    assert shares(one) == shares(one)


def three(folder, *finals):
    state = sweep_state(folder)
    for name, final in zip(state.records, finals, strict=True):
        complete(state, name, [20.0, 30.0], list(final))
    return state


def test_a_sweep_has_a_score_per_method_on_the_scale_of_its_figure(tmp_path):
    (row,) = robustness(three(tmp_path, (4.0, 4.0), (4.0, 4.0), (8.0, 8.0)))
    assert (row.key, row.method, row.values, row.seeds, row.lost, row.why) == (K, "", 3, 2, "", "")
    assert row.range == "1 to 16, 3 values, logarithmic"
    # From 4 to 16, half of the logarithmic range, the mean goes from 4 to 8; the limits are 4.4 and 5.
    assert [share.value for share in row.score.shares] == pytest.approx([0.5 + 0.05, 0.5 + 0.125])
    assert row.of_all == ()


def test_methods_are_scored_each_and_against_the_best_of_all(tmp_path):
    domains = f"""\
  method: {{cases: {{good: {{}}, bad: {{objective.bandwidths: [1]}}}}}}
  {K}: {{grid: [1, 4, 16]}}
"""
    state = sweep_state(tmp_path, domains)
    for name, final in zip(state.records, (10, 10, 20, 100, 100, 100), strict=True):
        complete(state, name, [float(final)] * 2)
    good, bad = robustness(state)
    assert [good.method, bad.method] == ["method = good", "method = bad"]
    assert [share.value for share in bad.score.shares] == [1.0, 1.0]
    assert [share.value for share in bad.of_all] == [0.0, 0.0]
    assert [share.value for share in good.of_all] == [share.value for share in good.score.shares]


def test_lost_trials_are_named(tmp_path):
    state = three(tmp_path, (4.0, 4.0), (4.0, 4.0), (4.0, 4.0))
    state.reported("critic_dim=16", report(6, [1.0, None], Status.DIVERGED, "1 of 2"))
    (row,) = robustness(state)
    assert row.lost == "16 DIVERGED"
    assert [share.value for share in row.score.shares] == [0.5, 0.5]


def test_why_there_is_no_score(tmp_path):
    def why(state):
        return {row.why for row in robustness(state)}

    assert why(sweep_state(tmp_path)) == {"3 of 3 trials not finished"}
    assert why(sweep_state(tmp_path, f"  {K}: {{grid: [4]}}\n")) == {"1 of 1 trial not finished"}
    single = sweep_state(tmp_path, f"  {K}: {{grid: [4]}}\n")
    complete(single, "critic_dim=4", [1.0, 2.0])
    assert why(single) == {"a single value has no range"}
    lost = sweep_state(tmp_path)
    for name in lost.records:
        lost.ended(name, Status.FAILED, "OSError")
    assert why(lost) == {"no trial has completed"}
    assert why(three(tmp_path, (-1.0, 2.0), (1.0, 1.0), (1.0, 1.0))) == {
        "a percentage of fid_digits needs a best value that is clearly above zero"
    }
    joint = sweep_state(tmp_path, METHODS.replace("grid: [1, 4, 16]", "logint: [1, 16]"), sampled=True)
    complete(joint, begin(joint, method="gram", objective__critic_dim=2), [1.0, 2.0])
    assert why(joint) == {"other keys are sampled too, so no two trials differ only in this key"}
