"""`pruner: {name: asha, promote: true}`: paused trials continue from their checkpoints when they are promoted."""

import json
import random
import zlib

import pytest
from stores import stored
from sweeps import RING, write_space

from gramtune import run_sweep
from gramtune.backends.optuna.search import OptunaProposer
from gramtune.cli.plan_text import plan_lines
from gramtune.pruners.asha import Asha
from gramtune.record.journal import load_state
from gramtune.record.pruning import Rungs
from gramtune.record.report import Report, Status
from gramtune.record.tables import trials_frame
from gramtune.run.capacity import Capacity, Node
from gramtune.run.cost_estimate import SweepEstimate
from gramtune.run.driver import Driver, NothingNew
from gramtune.run.in_process import InProcessRunner
from gramtune.run.messages import Reported
from gramtune.run.requests import ask_to_stop
from gramtune.run.resume_policy import refusals
from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import make_plan

SPACE = """\
name: axis
base: base/tiny.yaml
space:
  optimizer.learning_rate: {loguniform: [1e-5, 1e-1]}
  optimizer.beta1: {choice: [0.0, 0.5, 0.9]}
replicates: 2
search: {name: tpe, samples: 12, seed: 1}
pruner: {name: asha, reduction_factor: 3, promote: true}
resources: {cpu: 1, gpu: 0}
"""
GRID = SPACE.replace("  optimizer.beta1: {choice: [0.0, 0.5, 0.9]}\n", "")
GRID = GRID.replace("search: {name: tpe, samples: 12, seed: 1}\n", "")
GRID = GRID.replace("{loguniform: [1e-5, 1e-1]}", "{grid: [1e-5, 1e-4, 1e-3, 1e-2]}")
STEPS, RUNGS = 9, (1, 3)


def opened(folder, space=SPACE):
    folder.mkdir(exist_ok=True)
    plan = make_plan(load_sweep(write_space(folder, space, RING)), folder)
    state = load_state(folder, plan)
    return Driver(state, folder, NothingNew() if plan.sweep.search.name == "grid" else OptunaProposer(state, folder))


def outcome(state):
    return {
        name: (r.status, r.reason, {s: p.metrics for s, p in r.reports.items()}) for name, r in state.records.items()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    driver = opened(folder)
    InProcessRunner().run(driver)
    assert driver.exhausted
    return driver


def test_the_best_third_of_each_rung_is_promoted(undisturbed):
    """12 trials reach the first rung. At the end no paused trial is among the best third of its rung."""
    records = undisturbed.state.records
    assert len(records) == 12
    assert not undisturbed.state.unfinished
    last = [record.last.step for record in records.values()]
    assert set(last) == {*RUNGS, STEPS}
    for rung in RUNGS:
        means = {n: sum(r.reports[rung].metrics["sliced_wasserstein"]) for n, r in records.items() if rung in r.reports}
        best = sorted(means, key=means.get)[: max(1, len(means) // 3)]
        assert all(records[name].last.step > rung for name in best)
    paused = [record for record in records.values() if record.last.step < STEPS]
    assert {record.status for record in paused} == {Status.PAUSED}
    assert {record.reason for record in paused} <= {f"asha at step {s}: paused until among the best 1/3" for s in RUNGS}
    assert undisturbed.state.best.status == Status.COMPLETED


def test_a_promoted_trial_continues_bit_for_bit(undisturbed, tmp_path):
    """The same configurations, trained without a pruner, give the same numbers at every step."""
    done = {name: r for name, r in undisturbed.state.records.items() if r.status == Status.COMPLETED}
    assert any(record.passed for record in done.values())
    points = [dict(record.trial.assignment) for record in done.values()]
    whole = SPACE.replace("pruner: {name: asha, reduction_factor: 3, promote: true}\n", "")
    whole = whole.replace("samples: 12, seed: 1", f"samples: {len(points)}, points: {json.dumps(points)}")
    driver = opened(tmp_path, whole)
    InProcessRunner().run(driver)
    assert {n: o[2] for n, o in outcome(driver.state).items()} == {n: outcome(undisturbed.state)[n][2] for n in done}


class Killed(BaseException):
    """What a kill of the driver is to code that must not tidy up."""


def dying(inner, number, *, after):
    """`inner`, killed before or after its call with this number."""
    count = iter(range(10**6))

    def call(*arguments):
        now = next(count) == number
        if now and not after:
            raise Killed
        result = inner(*arguments)
        if now:
            raise Killed
        return result

    return call


@pytest.mark.parametrize(
    ("where", "number", "after"),
    [("reported", 9, False), ("reported", 14, True), ("reported", 22, False), ("next", 4, True), ("next", 9, True)],
)
def test_a_killed_sweep_takes_the_same_decisions(where, number, after, undisturbed, tmp_path):
    driver = opened(tmp_path)
    setattr(driver, where, dying(getattr(driver, where), number, after=after))
    with pytest.raises(Killed):
        InProcessRunner().run(driver)
    again = opened(tmp_path)
    InProcessRunner().run(again)
    assert outcome(again.state) == outcome(undisturbed.state)
    assert outcome(load_state(tmp_path, again.state.plan)) == outcome(undisturbed.state)  # from the journal alone


def test_the_study_has_a_second_trial_for_each_promotion(undisturbed):
    """TPE learns from what a paused trial has shown, and later from what it became."""
    study = OptunaProposer(load_state(undisturbed.folder, undisturbed.state.plan), undisturbed.folder)
    assert study.propose() is None
    import optuna

    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(undisturbed.folder / "study.journal"))
    )
    trials = optuna.load_study(study_name="axis", storage=storage).trials
    assert {trial.state.name for trial in trials} == {"PRUNED", "COMPLETE"}
    for name, record in undisturbed.state.records.items():
        mine = [trial for trial in trials if trial.user_attrs["trial"] == name]
        assert len(mine) == 1 + sum(rung < record.last.step for rung in RUNGS)
        assert [trial.user_attrs["status"] for trial in mine] == [Status.PAUSED] * (len(mine) - 1) + [record.status]
        assert sorted(mine[-1].intermediate_values) == sorted(record.reports)


@pytest.mark.slow
def test_ray_trains_the_same_numbers(local_ray, undisturbed, tmp_path):
    from gramtune.backends.ray.runner import RayRunner

    space = GRID.replace("resources:", "search: {synchronous: true}\nresources:")
    debug, ray = opened(tmp_path / "debug", space), opened(tmp_path / "ray", space)
    InProcessRunner().run(debug)
    RayRunner(print, max_concurrent=2).run(ray)
    assert ray.exhausted
    assert outcome(ray.state) == outcome(debug.state)
    assert sorted(record.last.step for record in ray.state.records.values()) == [1, 1, 1, 9]


def test_tables_and_mlflow_say_paused_and_more_samples_open_a_rung(tmp_path):
    """A trial that the rung of 4 did not promote is promoted when it has 9; its run in MLflow is continued."""
    space = SPACE.replace("tpe, samples: 12", "random, samples: 4")
    path = write_space(tmp_path, space, RING)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    first = run_sweep(load_sweep(path), tmp_path / "runs", debug=True, tracking_uri=uri, say=lambda line: None)
    assert first.complete
    frame = trials_frame(first.state)
    assert sorted(frame["status"]) == ["COMPLETED", "PAUSED", "PAUSED", "PAUSED"]
    assert "Unfinished" not in (first.folder / "summary.txt").read_text()
    more = load_sweep(path, Overrides(samples=12))
    then = run_sweep(more, tmp_path / "runs", debug=True, tracking_uri=uri, say=lambda line: None)
    assert then.complete
    paused = {name for name, record in first.state.records.items() if record.status == Status.PAUSED}
    assert any(then.state.records[name].passed for name in paused)
    _, children = stored(uri)
    statuses = {name: str(record.status) for name, record in then.state.records.items()}
    assert {name: run.data.tags["gramtune.status"] for name, run in children.items()} == statuses
    assert {run.info.status for run in children.values()} == {"FINISHED"}


def report(trial, step):
    rng = random.Random(zlib.crc32(trial.name.encode()))
    values = [rng.uniform(1, 9) * rng.gauss(1, 0.1) for _ in range(2)]
    status = "COMPLETED" if step == STEPS else "RUNNING"
    return Reported(trial.name, Report(step, {"sliced_wasserstein": values}, {}, 10, 1.0, 0, Status(status), ""))


def test_a_user_stops_a_paused_trial(tmp_path):
    """All four trials pause at the first rung. Without the best one, the second best is promoted."""
    driver = opened(tmp_path, GRID.replace("reduction_factor: 3", "reduction_factor: 4"))
    for _ in range(4):
        trial = driver.next()
        driver.started(trial)
        assert not driver.heard(report(trial, 1), print)
    records = driver.state.records
    assert {record.status for record in records.values()} == {Status.PAUSED}
    by_value = sorted(records, key=lambda name: sum(records[name].last.metrics["sliced_wasserstein"]))
    ask_to_stop(driver.state, tmp_path, by_value[0])
    assert driver.next().name == by_value[1]
    assert (records[by_value[0]].status, records[by_value[1]].status) == (Status.STOPPED, Status.RUNNING)


def test_promotions_are_those_of_the_paper():
    """Algorithm 2 of Li et al. 2020: the highest rung first, the best of a rung first; then a new trial."""
    rungs = Rungs(Asha(reduction_factor=2, promote=True), 10, 1, "min")

    def arrives(name, step, value):
        paused = rungs.decide(name, Report(step, {"m": [value]}, {}, 1, 1.0, 0, Status.RUNNING, ""), "m")
        assert bool(paused) == (step in (1, 2, 4, 8))

    arrives("a", 1, 5.0)
    assert list(rungs.promotable("m")) == []
    assert list(rungs.promotable("m", closed=True)) == ["a"]
    arrives("b", 1, 4.0)
    assert list(rungs.promotable("m")) == ["b"]
    rungs.release("b")
    assert list(rungs.promotable("m")) == []
    arrives("b", 2, 4.0)
    arrives("c", 1, 6.0)
    arrives("d", 1, 3.0)
    assert list(rungs.promotable("m")) == ["d"]
    rungs.release("d")
    arrives("d", 2, 7.0)
    arrives("e", 1, 1.0)
    arrives("f", 1, 2.0)
    assert list(rungs.promotable("m")) == ["b", "e", "f"]  # b at the second rung, where it is the better of two


def test_the_plan_says_that_trials_pause(tmp_path):
    plan = make_plan(load_sweep(write_space(tmp_path, GRID, RING)), tmp_path)
    assert not any("never decides" in warning for warning in plan.warnings)
    lines = plan_lines(plan, None, Capacity((Node(2),)), SweepEstimate(60.0, 400_000_000, 40, 2))
    assert any("paused until among the best 1/3 after 1, 3 steps" in line for line in lines)


def test_paused_trials_get_no_further_replicates_and_longer_training_is_allowed(undisturbed, tmp_path):
    path = write_space(tmp_path, SPACE, RING)
    assert refusals(undisturbed.state, load_sweep(path, Overrides(replicates=3))) == []
    assert refusals(undisturbed.state, load_sweep(path, Overrides(set=("training.steps=27",)))) == []
