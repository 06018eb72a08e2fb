"""What a dry run predicts from a pilot, and what it refuses, one line per fault."""

import numpy as np
import pytest
from states import complete, report, sweep_state
from sweeps import SPACE, write_space

from gramtune.analysis.key_verdicts import verdicts
from gramtune.analysis.planning import Pilot, check_pilot, outlook
from gramtune.analysis.trial_table import trial_table
from gramtune.cli.pilot import known_spread
from gramtune.errors import SpecError
from gramtune.record.report import Status
from gramtune.run.pilot import pilot_plan, pilot_size
from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import make_plan

UNTIL = "{min: 3, max: 20, until: decided}"


def pilot(folder, *rows, domains=None):
    """The state of a finished sweep with these last values of its trials."""
    folder.mkdir(exist_ok=True)
    state = sweep_state(folder, domains, replicates=len(rows[0]))
    for name, row in zip(list(state.records), rows, strict=True):
        complete(state, name, *[list(row)] * 3)
    return state


def planned(folder, space=SPACE, **overrides):
    folder.mkdir(exist_ok=True)
    return make_plan(load_sweep(write_space(folder, space), Overrides(**overrides)), folder)


def noisy(means, noise, n=8, seed=0):
    rng = np.random.default_rng(seed)
    return [tuple(mean * np.exp(noise * rng.standard_normal(n))) for mean in means]


def test_a_flat_pilot_predicts_insensitive_and_a_cliff_sensitive(tmp_path):
    plan = planned(tmp_path / "plan", until="decided")
    flat = outlook(plan, pilot(tmp_path / "flat", *noisy([100, 100, 100], 0.01)), 2.0, 1)
    cliff = outlook(plan, pilot(tmp_path / "cliff", *noisy([100, 100, 300], 0.01)), 2.0, 1)
    assert flat.forecasts[0].insensitive > 0.97
    assert cliff.forecasts[0].sensitive > 0.97
    assert flat.most == 9 <= flat.replicates < 9.5


def test_noise_costs_verdicts_or_replicates_and_time(tmp_path):
    quiet, loud = (pilot(tmp_path / str(noise), *noisy([100] * 3, noise)) for noise in (0.01, 0.06))
    until, fixed = planned(tmp_path / "until", until="decided"), planned(tmp_path / "fixed", replicates=3)
    assert (
        outlook(fixed, loud, 2.0, 1).forecasts[0].insensitive
        < 0.5
        < outlook(fixed, quiet, 2.0, 1).forecasts[0].insensitive
    )
    near, far = outlook(until, quiet, 2.0, 1), outlook(until, loud, 2.0, 1)
    assert far.replicates > near.replicates + 5
    assert near.seconds == pytest.approx(6.0, rel=0.2)  # three trials, one at a time
    # A further replicate of a trial costs a third of its first three.
    assert far.seconds == pytest.approx(6.0 + (far.replicates - 9) * 2 / 3, rel=1e-6)


def test_fixed_replicates_cost_what_they_are(tmp_path):
    found = outlook(planned(tmp_path / "plan", replicates=5), pilot(tmp_path / "p", *noisy([100] * 3, 0.03)), 4.0, 2)
    assert (found.replicates, found.most, found.seconds) == (15, 15, 8.0)


def test_a_pilot_that_diverges_predicts_no_insensitive(tmp_path):
    state = pilot(tmp_path / "p", *noisy([100] * 3, 0.01, 3))
    *_, name = state.records
    state.reported(name, report(6, [None, None, 100.0], Status.DIVERGED, "2 of 3 replicates diverged"))
    found = outlook(planned(tmp_path / "plan", replicates=8), state, 1.0, 1)
    assert found.forecasts[0].insensitive < 0.01


def test_values_between_those_of_the_pilot_lie_between_them(tmp_path):
    """The pilot has 1 and 16, a quarter worse; on a linear axis 10 is 14 % worse than 1, and 4 is 5 % worse."""
    state = pilot(tmp_path / "p", *noisy([100, 125], 0.001), domains="  objective.critic_dim: {grid: [1, 16]}\n")
    far = planned(tmp_path / "a", SPACE.replace("[1, 4, 16]", "[1, 10]"), replicates=5)
    assert outlook(far, state, 1.0, 1).forecasts[0].sensitive > 0.97
    near = planned(tmp_path / "b", SPACE.replace("[1, 4, 16]", "[1, 4]"), replicates=5)
    assert outlook(near, state, 1.0, 1).forecasts[0].insensitive > 0.97


def test_a_key_that_the_pilot_did_not_vary_is_taken_for_flat(tmp_path):
    state = pilot(
        tmp_path / "p", *noisy([100, 300, 900], 0.01), domains="  objective.ridge: {grid: [1e-4, 1e-3, 1e-2]}\n"
    )
    (found,) = outlook(planned(tmp_path / "plan", replicates=5), state, 1.0, 1).forecasts
    assert found.flat
    assert found.insensitive > 0.97


def test_the_forecast_is_right_about_as_often_as_it_says(tmp_path):
    """Thirty pilots of three seeds at an undecided noise: the mean predicted probability is near the realised share."""
    plan, said, came = planned(tmp_path / "plan", replicates=6), [], []
    for seed in range(30):
        state = pilot(tmp_path / f"p{seed}", *noisy([100] * 3, 0.04, 3, seed))
        said.append(outlook(plan, state, 1.0, 1).forecasts[0].insensitive)
        real = pilot(tmp_path / f"r{seed}", *noisy([100] * 3, 0.04, 6, 1000 + seed))
        came.append(verdicts(real)[0].finding.verdict == "INSENSITIVE")
    assert abs(np.mean(said) - np.mean(came)) < 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"set": ("metrics=[kid_digits]", "metric=kid_digits")},
            "it is judged by fid_digits, the planned sweep by kid_digits",
        ),
        ({"replicates": 2}, "a verdict needs 3 replicates, and the sweep has 2"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(tmp_path, change, message):
    state = pilot(tmp_path / "p", *noisy([100] * 3, 0.01))
    with pytest.raises(SpecError, match=message) as caught:
        check_pilot(planned(tmp_path / "plan", **{"replicates": 3, **change}), Pilot(state, "--like p"))
    assert len(caught.value.issues) == 1


def test_a_pilot_without_a_spread_is_refused(tmp_path):
    with pytest.raises(SpecError, match="p: it has no value with two finished replicates"):
        check_pilot(planned(tmp_path / "plan", replicates=3), Pilot(pilot(tmp_path / "p", (1.0,), (2.0,), (3.0,)), "p"))


@pytest.mark.parametrize("text", ["3", "3x", "1x3", "3x1", "x", "3x3x3", "-3x3", "3×3"])
def test_sizes_of_pilots_are_checked(text):
    with pytest.raises(SpecError, match="should be VALUESxSEEDS, each at least 2, for example 3x3"):
        pilot_size(text)


def test_pilot_and_like_belong_to_a_dry_run_and_exclude_each_other(tmp_path):
    plan = planned(tmp_path / "plan")
    with pytest.raises(SpecError, match="--pilot: only works with --dry-run; add it"):
        known_spread(plan, "3x3", None, False, run=None)
    with pytest.raises(SpecError, match="--pilot: excludes --like; use one of them"):
        known_spread(plan, "3x3", tmp_path, True, run=None)


def test_the_pilot_has_the_outer_values_and_some_between_and_all_methods(tmp_path):
    cases = "  method:\n    cases:\n      a: {objective.ridge: 1e-3}\n      b: {objective.ridge: 1e-2}\n"
    space = SPACE.replace("{grid: [1, 4, 16]}\n", "{grid: [1, 2, 4, 8, 16]}\n" + cases)
    plan = pilot_plan(planned(tmp_path / "plan", space, until="decided"), pilot_size("3x4"))
    assert plan.sweep.name == "axis-pilot"
    assert [t.assignment["objective.critic_dim"] for t in plan.trials] == [1, 1, 4, 4, 16, 16]
    assert {t.config.training.replicates for t in plan.trials} == {4}
    sampled = SPACE.replace("grid: [1, 4, 16]", "int: [1, 16]") + "search: {name: random, samples: 4}\n"
    with pytest.raises(SpecError, match="random draws its values while it runs"):
        pilot_plan(planned(tmp_path / "s", sampled), pilot_size("3x3"))


def test_the_table_of_trials_has_what_the_verdict_says(tmp_path):
    table = trial_table(pilot(tmp_path / "p", *noisy([100, 100, 300], 0.01)))
    assert list(table["verdict.critic_dim"]) == ["SENSITIVE"] * 3
    assert list(table["may_be_best.critic_dim"]) == [True, True, False]
    assert table["worse_by_at_least.critic_dim"][2] > 1.5 > 0.05 > table["worse_by_at_most.critic_dim"][0]
    none = trial_table(pilot(tmp_path / "n", (1.0,), (2.0,), (3.0,)))
    assert none["verdict.critic_dim"].isna().all()
