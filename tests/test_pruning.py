import random
from statistics import fmean

import pytest
from scipy.stats import t
from states import report as state_report
from states import sweep_state
from sweeps import SPACE, write_space

from gramtune.errors import SpecError
from gramtune.record.pruning import Rungs, _worse
from gramtune.record.report import Report, Status
from gramtune.record.student_t import t_quantile
from gramtune.space.load import load_sweep
from gramtune.space.sweep import Pruner


def report(step, values, status=Status.RUNNING):
    return Report(step, {"m": values}, {}, 100, 1.0, 0, status, "")


def rungs(direction="min", max_steps=1000, eval_every=100, **pruner):
    return Rungs(Pruner(**pruner), max_steps, eval_every, direction)


def stopped(judge, arrivals, step=100):
    """Names of the trials that are stopped, when they reach the step in this order."""
    return [name for name, values in arrivals if judge.decide(name, report(step, values), "m")]


def test_t_quantile_is_students():
    """The pruner asks for confidences close to 1."""
    for degrees in (1, 2, 9, 50):
        for confidence in (0.5, 0.9, 0.95, 0.99, 1 - 1e-6):
            expected = t.ppf((1 + confidence) / 2, degrees)
            assert t_quantile(degrees, confidence) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["asha", "median"])
def test_nobody_is_judged_at_an_extra_evaluation(name):
    """`training.eval_at`: the early steps of a figure would stop trials that have hardly begun."""
    arrivals = [("a", [1.0]), ("b", [2.0]), ("c", [99.0])]
    assert stopped(rungs(name=name), arrivals, step=10) == []
    assert "c" in stopped(rungs(name=name), arrivals, step=100)


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


class AgainstTheThreshold(Rungs):
    """The rule that once was: one paired test, at the rate itself, against the trial that happens to be the threshold.

    That trial is picked for its luck, and every rung is another chance to err.
    """

    def _surely_worse(self, trial, step, rate):
        reached = self._reached[step]
        threshold = sorted(reached.values(), key=fmean)[self._better_needed(len(reached)) - 1]
        return _worse(reached[trial], threshold, rate)


def share_stopped(kind, rate, races=150, trials=20):
    """Share of equally good trials that are stopped at any rung; each of them may call itself the best."""
    rng, lost = random.Random(0), 0
    for _ in range(races):
        judge = kind(Pruner(name="asha", false_prune_rate=rate), 1600, 100, "min")
        for name in range(trials):
            arrivals = [(step, [rng.gauss(0, 1) for _ in range(3)]) for step in judge.steps("")]
            lost += any(judge.decide(f"{name}", report(step, values), "m") for step, values in arrivals)
    return lost / (races * trials)


def test_the_false_prune_rate_is_that_of_a_whole_trial():
    assert share_stopped(AgainstTheThreshold, 0.1) > 0.2
    kept = share_stopped(Rungs, 0.1)
    assert 0.005 < kept < 0.1  # 3,000 trials that depend on each other: far from either bound


def test_those_stopped_earlier_count_as_rivals():
    def judge_at_400(stopped_before):
        judge = rungs(name="asha", false_prune_rate=0.4)
        for i in range(stopped_before):
            judge._stopped[f"gone {i}"] = 100
        judge.decide("a", report(400, [1.0, 2.0, 3.0]), "m")
        return bool(judge.decide("b", report(400, [2.0, 3.2, 3.8]), "m"))

    assert judge_at_400(0)  # t = 9.8 with 2 degrees of freedom: p = 0.005
    assert not judge_at_400(200)


def test_seeds_stay_paired_where_a_replicate_has_diverged():
    judge = rungs(name="asha", false_prune_rate=0.4)
    judge.decide("a", report(100, [60.0, 20.0, 130.0, 40.0]), "m")
    # Seed by seed b is 1 worse. By position without the lost one, the differences would be −39, 111 and −89.
    assert "more than chance" in judge.decide("b", report(100, [None, 21.0, 131.1, 41.2]), "m")


@pytest.mark.parametrize("rule", [{"name": "asha"}, {"name": "median"}, {"name": "asha", "false_prune_rate": 0.4}])
def test_a_trial_with_a_diverged_replicate_judges_nobody(rule):
    """It cannot win: its one lucky replicate must not stop a healthy trial. It is judged itself."""
    half = ("half", [None, 1.0, 1.0])
    assert stopped(rungs(**rule), [half, ("healthy", [5.0, 5.1, 5.2])]) == []
    assert stopped(rungs(**rule), [("whole", [0.0, 1.0, 1.0]), ("healthy", [5.0, 5.1, 5.2])]) == ["healthy"]
    worse = ("worse", [None, 9.0, 9.1])
    assert stopped(rungs(**rule), [half, ("healthy", [5.0, 5.1, 5.2]), worse]) == ["worse"]


def test_a_trial_that_diverges_later_does_not_judge_at_earlier_rungs():
    """A slower trial comes to a rung after a faster one has lost a replicate between two rungs."""
    judge = rungs(name="asha")
    judge.decide("fast", report(100, [1.0, 1.0]), "m")
    judge.decide("fast", report(200, [None, 1.0]), "m")
    assert judge.decide("slow", report(100, [5.0, 5.0]), "m") == ""


def test_a_resumed_sweep_knows_its_rungs_and_whom_it_stopped(tmp_path):
    state = sweep_state(tmp_path)
    first, second = list(state.records)[:2]
    for name, values in ((first, [1.0, 2.0]), (second, [9.0, 8.0])):
        state.started(state.records[name].trial)
        state.reported(name, state_report(3, values))
    state.ended(second, Status.PRUNED, "asha at step 3")
    judge = Rungs.of(state)
    assert judge._reached == {}  # the plan of this sweep has no pruner
    pruned = state.plan._replace(sweep=state.plan.sweep.model_copy(update={"pruner": Pruner(min_steps=3)}))
    state.plan = pruned
    judge = Rungs.of(state)
    assert judge._reached == {3: {first: [1.0, 2.0], second: [9.0, 8.0]}}
    assert judge._stopped == {second: 3}


@pytest.mark.parametrize(
    ("text", "name"),
    [("", "none"), ("pruner: asha", "asha"), ("pruner: {}", "asha"), ("pruner: {min_steps: 3}", "asha"),
     ("pruner: {name: median}", "median"), ("pruner: none", "none")],
)  # fmt: skip
def test_where_pruning_is_on_it_is_asha(text, name, tmp_path):
    assert load_sweep(write_space(tmp_path, SPACE + text + "\n")).pruner.name == name


def test_an_unknown_pruner_has_its_line(tmp_path):
    with pytest.raises(SpecError, match=r"axis.yaml:8: pruner.name = 'ahsa' is not legal; legal: 'none', 'asha'"):
        load_sweep(write_space(tmp_path, SPACE + "pruner: ahsa\n"))
