"""Replays of hand-written journals, so that the savings and losses of each pruner are known exactly."""

import subprocess
import sys
from dataclasses import replace

import pytest
from states import report as state_report
from states import sweep_state
from sweeps import BASE, write_space
from typer.testing import CliRunner

from gramtune.analysis.replay import panel, recording, replay, wilson
from gramtune.cli.main import app
from gramtune.errors import SpecError
from gramtune.pruners.asha import Asha
from gramtune.record.journal import Journal, load_state
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState
from gramtune.record.tables import write_sweep
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan
from gramtune.space.pruner import NO_PRUNER

STEPS = 4
ASHA = Asha(reduction_factor=2)  # judges the second trial; rungs after 1 and 2 of 4 steps
LATE, EARLY, HOPELESS = "critic_dim=1", "critic_dim=4", "critic_dim=16"
CURVES = {
    LATE: [[20, 20], [3, 15], [3, 4], [1, 2], [1, 1]],  # the best in the end, not yet at the first rung
    EARLY: [[20, 20], [5, 5], [4, 4], [3, 3], [2, 2]],
    HOPELESS: [[20, 20], [90, 91], [90, 91], [90, 91], [90, 91]],
}
"""Two replicates after 0, 1, … 4 steps."""


def report(step, values, seconds, status=None):
    status = status or ("COMPLETED" if step == STEPS else "RUNNING")
    return Report(step, {"fid_digits": values}, {}, 100, seconds, 0, Status(status), "")


def write_journal(folder, curves, pace=None, seconds=1.0):
    """A sweep's folder with these curves; an evaluation takes one second times the trial's pace. Returns its state."""
    path = write_space(folder, base=BASE.replace("steps: 6, eval_every: 3", f"steps: {STEPS}, eval_every: 1"))
    plan = make_plan(load_sweep(path), folder)
    state = SweepState(plan)
    write_sweep(plan.sweep, folder)
    journal = Journal(folder, state)
    for name, curve in curves.items():
        journal.started(state.records[name].trial)
        for step, values in enumerate(curve):
            journal.reported(
                name, report(step, [float(v) for v in values], (step + 1) * (pace or {}).get(name, seconds))
            )
    return load_state(folder, plan)


def recorded(folder, *names, **options):
    state = write_journal(folder, {name: CURVES[name] for name in names}, **options)
    return recording(state, "here")


def test_what_asha_saves_and_loses_is_exact(tmp_path):
    # one worker: the best is lost just where it comes second, after 1 of 4 steps (2 of 5 evaluations);
    # where it comes first, the other one ends at the second rung, after 2 of 4 (3 of 5)
    result = replay(recorded(tmp_path, LATE, EARLY), ASHA, orders=300, workers=1, seed=0)
    assert 100 < result.best_lost < 200
    share = result.best_lost / 300
    assert result.steps_saved == pytest.approx(share * 3 / 8 + (1 - share) * 2 / 8)
    assert result.time_saved == pytest.approx(share * 3 / 10 + (1 - share) * 2 / 10)
    assert result.regret == pytest.approx(share * (2 - 1))
    assert result.regret_std == pytest.approx((share * (1 - share) * 300 / 299) ** 0.5)


def test_workers_are_asynchronous(tmp_path):
    # side by side, the wall time is that of the longer trial: nothing is saved
    result = replay(recorded(tmp_path, LATE, EARLY), ASHA, orders=50, workers=2, seed=0)
    assert 0 < result.best_lost < 50
    assert result.time_saved == 0
    # the faster one is at the rung first, in whatever order they started
    (tmp_path / "paced").mkdir()
    paced = recorded(tmp_path / "paced", LATE, EARLY, pace={LATE: 1.0, EARLY: 0.5})
    result = replay(paced, ASHA, orders=50, workers=2, seed=0)
    assert (result.best_lost, result.steps_saved) == (50, pytest.approx(3 / 8))
    assert result.time_saved == pytest.approx(1 - 2.5 / 5)


def test_promoting_asha_saves_more_and_one_trial_always_takes_all_steps(tmp_path):
    """Rungs after 1 and 2 of 4 steps. LATE is second at the first rung, so EARLY alone goes on, in every order."""
    record, promoting = recorded(tmp_path, LATE, EARLY), Asha(reduction_factor=2, promote=True)
    one = replay(record, promoting, orders=20, workers=1, seed=0)
    assert (one.best_lost, one.steps_saved, one.regret) == (20, pytest.approx(3 / 8), 1)
    assert one.steps_saved > replay(record, ASHA, orders=20, workers=1, seed=0).steps_saved
    # with three, LATE is promoted where EARLY comes last; then EARLY goes on too, and LATE is better at the second rung
    (tmp_path / "three").mkdir()
    three = replay(recorded(tmp_path / "three", *CURVES), promoting, orders=60, workers=1, seed=0)
    assert 30 < three.best_lost < 50
    share = three.best_lost / 60
    assert three.steps_saved == pytest.approx(share * 6 / 12 + (1 - share) * 5 / 12)


def test_plain_asha_kills_the_best_where_the_noise_aware_one_does_not(tmp_path):
    record = recorded(tmp_path, EARLY, LATE, HOPELESS)
    plain = replay(record, ASHA, orders=200, workers=1, seed=1)
    aware = replay(record, ASHA.model_copy(update={"false_prune_rate": 0.05}), orders=200, workers=1, seed=1)
    assert plain.best_lost > 50
    assert (aware.best_lost, aware.regret) == (0, 0)
    # it stops what is clearly worse all the same: unless that comes first, after 1 of its 4 steps
    assert 0.1 < aware.steps_saved < 3 / 12
    assert aware.steps_saved < plain.steps_saved


def test_no_pruner_saves_and_loses_nothing(tmp_path):
    result = replay(recorded(tmp_path, *CURVES), NO_PRUNER, orders=20, workers=2, seed=0)
    assert (result.steps_saved, result.time_saved, result.best_lost, result.regret) == (0, 0, 0, 0)


def test_more_is_better_turns_best_and_regret_round(tmp_path):
    record = replace(recorded(tmp_path, LATE, EARLY), direction="max")
    assert record.best == EARLY  # 2 above 1
    result = replay(record, ASHA, orders=100, workers=1, seed=0)
    assert 0 < result.best_lost < 100  # 5 is below LATE's 9 at the rung
    assert result.regret == pytest.approx(result.best_lost / 100)


def test_the_seed_decides_the_orders_and_they_are_the_same_for_all_pruners(tmp_path):
    record = recorded(tmp_path, *CURVES)
    results = [replay(record, ASHA, orders=50, workers=1, seed=seed) for seed in (3, 3, 4, 5)]
    assert results[0] == results[1]
    assert len({result.best_lost for result in results}) > 1
    shuffled = replace(record, trials=dict(reversed(record.trials.items())))
    assert replay(shuffled, ASHA, orders=50, workers=1, seed=3).best_lost == results[0].best_lost


def test_the_panel_takes_the_settings():
    pruners = panel({"reduction_factor": 3, "min_steps": 7, "false_prune_rate": 0.2})
    assert [(p.name, p.false_prune_rate) for p in pruners] == [
        ("none", None), ("asha", None), ("asha", None), ("asha", 0.2), ("hyperband", None), ("median", None),
    ]  # fmt: skip
    assert {p.min_steps for p in pruners[1:]} == {7}
    assert {p.reduction_factor for p in pruners[1:5]} == {3}
    assert [p.pauses for p in pruners] == [False, False, True, False, False, False]


def test_only_completed_trials_of_one_schedule_are_replayed(tmp_path):
    state = write_journal(tmp_path, {LATE: CURVES[LATE], EARLY: CURVES[EARLY]})
    journal = Journal(tmp_path, state)
    journal.started(state.records[HOPELESS].trial)
    journal.reported(HOPELESS, report(1, [90.0, 91.0], 1.0))
    journal.ended(HOPELESS, Status.PRUNED, "asha")
    found = recording(state, "here")
    assert (set(found.trials), found.left_out) == ({LATE, EARLY}, ("1 PRUNED",))
    journal.reported(HOPELESS, report(STEPS, [90.0, 91.0], 2.0))
    found = recording(state, "here")
    assert (set(found.trials), found.left_out) == (
        {LATE, EARLY},
        ("1 COMPLETED with other data, metrics, samples or steps",),
    )


def test_trials_on_different_data_are_not_replayed_together(tmp_path):
    """The pruner of a replay would prefer the data on which the metric is low."""
    base = BASE.replace("{name: digits}", "{name: ring}").replace("fid_digits", "sliced_wasserstein")
    base = base.replace("name: dcgan, noise_dim: 4, width: 4", "name: mlp")
    state = sweep_state(
        tmp_path, "  data.radius: {grid: [0.5, 1.0]}\n  objective.critic_dim: {grid: [2, 3]}\n", base=base
    )
    for name in list(state.records)[:3]:
        state.started(state.records[name].trial)
        state.reported(name, state_report(6, [1.0, 2.0], Status.COMPLETED, metric="sliced_wasserstein"))
    found = recording(state, "here")
    assert {state.records[name].trial.config.data.radius for name in found.trials} == {0.5}
    assert found.left_out == ("1 PENDING", "1 COMPLETED with other data, metrics, samples or steps")


def test_wilson_is_the_textbook_interval():
    assert wilson(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson(0, 200) == (0, pytest.approx(0.01885, abs=1e-5))
    assert wilson(200, 200) == (pytest.approx(1 - 0.01885, abs=1e-5), 1)


def gramtune(*arguments, cwd):
    command = [sys.executable, "-m", "gramtune.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_the_command_prints_one_line_per_pruner(tmp_path):
    write_journal(tmp_path, CURVES)
    done = gramtune("replay", tmp_path, "--reduction-factor", 2, "--workers", 1, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "3 trials of 4 steps, 200 random orders, 1 at once; fid_digits (minimised), best: critic_dim=1"
    assert [line.split("  ")[0] for line in lines[3:]] == [
        "none", "asha η=2", "asha η=2, promoting", "asha η=2, noise-aware 0.05", "hyperband η=2", "median",
    ]  # fmt: skip
    waits = gramtune("replay", tmp_path, "--pruner", "asha", "--reduction-factor", 2, "--min-trials", 4, cwd=tmp_path)
    assert waits.stdout.splitlines()[3].split()[2:9] == ["0.0", "%", "0.0", "%", "0", "of", "200"]
    options = ["--pruner", "asha", "--reduction-factor", 2, "--min-steps", 1, "--false-prune-rate", 0.05]
    one = gramtune("replay", tmp_path, *options, "--workers", 1, cwd=tmp_path)
    assert one.stdout.splitlines()[3:] == [lines[6]]
    section = "{reduction_factor: 2, min_steps: 1, false_prune_rate: 0.05}"
    same = gramtune("replay", tmp_path, "--pruner", section, "--workers", 1, cwd=tmp_path)
    assert same.stdout == one.stdout


@pytest.mark.parametrize(
    ("options", "issue"),
    [
        (["--pruner", "ashaa"], "--pruner: pruner.name = 'ashaa' does not exist; did you mean 'asha'? legal: asha"),
        (["--reduction-factor", 1], "--reduction-factor: pruner.reduction_factor = 1 should be greater than or"),
        (["--min-trials", 1], "--min-trials: pruner.min_trials = 1 should be greater than or equal to 2"),
        (["--false-prune-rate", 0.7], "--false-prune-rate: pruner.false_prune_rate = 0.7 should be less than 0.5"),
        (["--pruner", "median", "--reduction-factor", 2], "--reduction-factor: unknown key 'pruner.reduction_factor'"),
        (["--pruner", "{name: asha"], "--pruner: "),
        (["--min-steps", 4], "--min-steps: 4 should be below 4, the steps of these trials"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(tmp_path, options, issue):
    write_journal(tmp_path, CURVES)
    done = CliRunner().invoke(app, ["replay", str(tmp_path), *map(str, options)])
    assert isinstance(done.exception, SpecError)
    assert str(done.exception).startswith(issue)
    assert len(str(done.exception).splitlines()) == 1
    assert done.stdout == ""


def test_too_few_trials_are_one_line(tmp_path):
    state = write_journal(tmp_path, {LATE: CURVES[LATE]})
    rule = "a replay needs two COMPLETED trials with the same data, metrics, samples and steps"
    with pytest.raises(SpecError, match=rf"^here: {rule}, found 1 \(2 PEND"):
        recording(state, "here")
    done = gramtune("replay", tmp_path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
