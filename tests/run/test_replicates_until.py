"""Replicates until decided: which values get more, that the order of events does not matter, and what is refused."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from states import complete, report, sweep_state
from sweeps import SPACE, write_space

from gramtune import load_sweep, resume_sweep, run_sweep
from gramtune.analysis.replicates_needed import replicates_needed
from gramtune.analysis.verdict import Verdict
from gramtune.errors import SpecError
from gramtune.record.report import Status
from gramtune.space.load import Overrides

RATES = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "optimizer.learning_rate: {grid: [1e-4, 1e-3, 2e-2]}")
UNTIL = RATES.replace("replicates: 2", "replicates: {min: 3, max: 5, until: decided}\ntolerance: 0.02")
ALLOTTED = [{"learning_rate=0.0001": n, "learning_rate=0.02": n} for n in (4, 5)]
"""1e-3 is within the tolerance of the best, 1e-4, after three replicates; the spread of 2e-2 leaves it open.

Both by a wide margin: the upper bounds are 0.4 % and 4 %, where 2 % are asked for, on any CPU. The earlier rates 1e-3,
1e-2 and 2e-2 had a bound of 2.1 %, which every change of the numbers moved to the other side.
"""


def swept(folder, space=UNTIL, **how):
    path = write_space(folder, space)
    return run_sweep(load_sweep(path), folder / "runs", say=lambda line: None, **{"debug": True, **how})


def values(result):
    return result.frame.set_index(["trial", "replicate", "step", "metric"])["value"].sort_index()


def allotted(folder):
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [event["replicates"] for event in events if "replicates" in event]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return swept(tmp_path_factory.mktemp("undisturbed"))


def same(result, other):
    assert allotted(result.folder) == allotted(other.folder)
    pd.testing.assert_series_equal(values(result), values(other), check_exact=True)
    ours, theirs = (each.verdicts[0].finding for each in (result, other))
    assert (ours.verdict, ours.may_be_best, ours.look) == (theirs.verdict, theirs.may_be_best, theirs.look)


def test_only_open_values_are_given_more_and_their_numbers_are_those_of_a_plain_sweep(undisturbed, tmp_path):
    assert allotted(undisturbed.folder) == ALLOTTED
    assert list(undisturbed.trials["n"]) == [5, 3, 5]
    bounds = undisturbed.verdicts[0].finding.high
    assert bounds[1] < 0.01 < 0.03 < bounds[2]  # otherwise the allotment hangs on the rounding of a CPU
    assert set(undisturbed.trials["status"]) == {"COMPLETED"}
    plain = swept(tmp_path, RATES.replace("replicates: 2", "replicates: 5\ntolerance: 0.02"))
    both = values(plain).loc[values(undisturbed).index]
    pd.testing.assert_series_equal(values(undisturbed), both, rtol=1e-4)


def test_two_workers_of_ray_allot_the_same(undisturbed, tmp_path):
    same(swept(tmp_path, debug=False, max_concurrent=2), undisturbed)


def test_cut_off_after_any_event_it_goes_on_to_the_same(undisturbed, tmp_path):
    """Cut around the looks; tests/run/test_kills.py kills the real command at random moments."""
    lines = (undisturbed.folder / "journal.jsonl").read_text().splitlines(keepends=True)
    looks = [i for i, line in enumerate(lines) if '"replicates"' in line]
    for cut in (looks[0], looks[0] + 1, looks[1] - 1, looks[1] + 3):
        folder = shutil.copytree(undisturbed.folder, tmp_path / str(cut) / "axis")
        (folder / "journal.jsonl").write_text("".join(lines[:cut]))
        for checkpoints in folder.glob("trials/*/replicates-*"):
            shutil.rmtree(checkpoints)
        same(resume_sweep(folder, debug=True, say=lambda line: None), undisturbed)


def test_a_finished_sweep_goes_on_until_decided(undisturbed, tmp_path):
    first = swept(tmp_path, UNTIL.replace("{min: 3, max: 5, until: decided}", "3"))
    assert allotted(first.folder) == []
    grown = resume_sweep(first.folder, until="decided", max_replicates=5, debug=True, say=lambda line: None)
    same(grown, undisturbed)
    assert load_sweep(grown.folder / "sweep.yaml") == load_sweep(undisturbed.folder / "sweep.yaml")


def test_a_spent_budget_keeps_finished_replicates_and_a_raised_one_continues(undisturbed, tmp_path):
    spent = swept(tmp_path, UNTIL + "budget: {steps: 58}\n")  # 54 are those of three replicates
    assert spent.complete
    assert list(spent.trials["status"]) == ["COMPLETED"] * 3
    assert list(spent.trials["n"]) == [4, 3, 3]
    reasons = dict(zip(spent.trials["trial"], spent.trials["reason"], strict=True))
    assert reasons["learning_rate=0.02"] == "3 of 4 replicates: budget of 58 training steps reached"
    (row,) = spent.verdicts
    assert row.replicates == (4, 3, 3)
    write_space(tmp_path, UNTIL + "budget: {steps: 5800}\n")
    raised = swept(tmp_path, UNTIL + "budget: {steps: 5800}\n")
    same(raised, undisturbed)


def finished(tmp_path, *rows, domains=None, most=20, tolerance=0.1):
    state = sweep_state(tmp_path, domains, replicates=f"{{max: {most}, until: decided}}\ntolerance: {tolerance}")
    for name, row in zip(list(state.records), rows, strict=True):
        complete(state, name, *[list(row)] * 3)  # steps 0, 3 and 6
    return state


def test_nobody_is_given_more_once_decided_or_at_the_most(tmp_path):
    flat = [(100.0, 101.0, 99.0), (100.0, 102.0, 101.0), (100.0, 99.0, 100.5)]
    assert replicates_needed(finished(tmp_path, *flat)) == {}
    cliff = [*flat[:2], (300.0, 310.0, 305.0)]
    assert replicates_needed(finished(tmp_path, *cliff)) == {}
    wide = [(100.0, 140.0, 80.0), (100.0, 101.0, 102.0), (100.0, 90.0, 130.0)]
    assert set(replicates_needed(finished(tmp_path, *wide)).values()) == {4}
    assert replicates_needed(finished(tmp_path, *wide, most=3)) == {}


def test_each_method_is_decided_by_itself(tmp_path):
    cases = "  method:\n    cases:\n      a: {objective.ridge: 1e-3}\n      b: {objective.ridge: 1e-2}\n"
    space = "  objective.critic_dim: {grid: [1, 4]}\n" + cases
    clear, wide = (100.0, 101.0, 99.0), (100.0, 150.0, 80.0)
    state = finished(tmp_path, clear, wide, clear, wide, domains=space)
    names = [name for name, record in state.records.items() if record.trial.assignment["method"] == "b"]
    assert set(replicates_needed(state)) == set(names)


def test_a_failed_or_pruned_trial_is_given_none(tmp_path):
    wide = [(100.0, 140.0, 80.0), (100.0, 101.0, 102.0), (100.0, 90.0, 130.0)]
    state = finished(tmp_path, *wide)
    name = next(iter(state.records))
    for status in (Status.PRUNED, Status.FAILED):
        state.records[name].status = status
        assert replicates_needed(state)
        assert name not in replicates_needed(state)


def test_a_value_that_sometimes_diverges_stays_open(tmp_path):
    state = finished(tmp_path, *[(100.0, 101.0, 99.0)] * 2, (100.0, 100.0, 100.0))
    *_, name = state.records
    state.reported(name, report(6, [100.0, None, 101.0], Status.DIVERGED, "1 of 3 replicates diverged"))
    assert name in replicates_needed(state)


@pytest.mark.parametrize(
    ("replicates", "more", "message"),
    [
        ("{min: 2, until: decided}", "", "replicates.min = 2 should be greater than or equal to 3"),
        ("{min: 8, max: 5, until: decided}", "", "replicates: max = 5 should be at least min = 8"),
        ("{until: significant}", "", "replicates.until = 'significant' is not legal; legal: 'decided'"),
        ("{least: 3}", "", "unknown key 'replicates.least'"),
        ("three", "", "replicates = 'three' should be an integer"),
        (
            "{until: decided}",
            "metric: [fid_digits, kid_digits]\n",
            "replicates: until: decided needs a verdict, but a verdict is about one metric; legal here: a number",
        ),
    ],
)
def test_refusals_are_one_line(tmp_path, replicates, more, message):
    path = write_space(tmp_path, SPACE.replace("replicates: 2", f"replicates: {replicates}") + more)
    with pytest.raises(SpecError) as caught:
        load_sweep(path)
    place = next(i for i, line in enumerate(path.read_text().splitlines(), 1) if line.startswith("replicates"))
    assert f"axis.yaml:{place}: {message}" in str(caught.value)


def test_several_sampled_keys_and_populations_have_no_verdict_to_wait_for(tmp_path):
    sampled = "objective.critic_dim: {logint: [1, 64]}\n  optimizer.learning_rate: {loguniform: [1e-4, 1e-1]}"
    space = UNTIL.replace("optimizer.learning_rate: {grid: [1e-4, 1e-3, 2e-2]}", sampled)
    with pytest.raises(SpecError, match="random varies several keys at once"):
        load_sweep(write_space(tmp_path, space + "search: {name: random, samples: 4}\n"))
    with pytest.raises(SpecError, match="the values of a population change during training"):
        load_sweep(write_space(tmp_path, UNTIL + "scheduler: {name: pbt, interval: 3}\n"))


def test_the_command_line_makes_a_number_a_range(tmp_path):
    path = write_space(tmp_path)
    sweep = load_sweep(path, Overrides(until="decided"))
    assert (sweep.min_replicates, sweep.max_replicates) == (3, 20)  # a verdict needs three
    assert sweep.base["training"]["replicates"] == 3
    sweep = load_sweep(path, Overrides(until="decided", replicates=4, max_replicates=8))
    assert (sweep.min_replicates, sweep.max_replicates, sweep.replicates_text) == (
        *(4, 8),
        "4 to 8 replicates, until decided",
    )
    with pytest.raises(SpecError, match=r"--until: replicates\.until = 'bored' is not legal"):
        load_sweep(path, Overrides(until="bored"))
    assert load_sweep(write_space(tmp_path, UNTIL), Overrides(replicates=4)).max_replicates is None


def test_a_live_verdict_counts_the_replicates_that_have_ended(tmp_path):
    from gramtune.analysis.key_verdicts import verdicts

    wide = [(100.0, 140.0, 80.0), (100.0, 101.0, 102.0), (100.0, 90.0, 130.0)]
    state = finished(tmp_path, *wide)
    before = verdicts(state)[0].finding
    state.extended(replicates_needed(state))
    name = state.unfinished[0].trial.name
    state.reported(name, replace(report(3, [50.0]), first=3))
    assert verdicts(state)[0].finding.verdict == before.verdict == Verdict.UNDECIDED
    assert verdicts(state)[0].replicates == (3, 3, 3)
