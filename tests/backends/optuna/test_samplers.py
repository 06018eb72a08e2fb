"""Every sampler on every kind of key, and what Optuna's own tools read from the study's file."""

import json

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sweeps import RING, write_space

from gramtune.backends.optuna.search import STUDY_FILE, OptunaProposer
from gramtune.record.journal import load_state
from gramtune.record.report import Status
from gramtune.run.driver import Driver
from gramtune.run.in_process import InProcessRunner
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan

SHORT = RING.replace("steps: 9", "steps: 2")
SPACE = """\
name: axis
base: base/tiny.yaml
space:
  method:
    cases:
      GRAM: {objective.name: gram}
      GAN: {objective.name: gan}
  objective.critic_dim: {logint: [1, 16], when: {method: GRAM}}
  optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}
  optimizer.beta1: {uniform: [0, 0.9], step: 0.1}
  network.noise_dim: {int: [1, 6]}
  network.hidden: {choice: [[4], [8], [4, 4]]}
replicates: 1
search:
  name: tpe
  samples: 9
  seed: 4
  points:
    - {method: GRAM, objective.critic_dim: 3, network.hidden: [4, 4]}
    - {method: GAN, optimizer.learning_rate: 2e-3}
"""
SAMPLERS = ["random", "tpe", "cmaes", "gp", "qmc", "nsga2"]


class Killed(BaseException):
    """What a kill of the driver is to code that must not tidy up."""


def run(folder, sampler, *, kill_after=None):
    """Runs, or goes on with, the sweep; the driver dies when so many trials have been proposed, before they begin."""
    folder.mkdir(exist_ok=True)
    path = write_space(folder, SPACE.replace("name: tpe", f"name: {sampler}"), SHORT)
    state = load_state(folder, make_plan(load_sweep(path), folder))
    driver = Driver(state, folder, OptunaProposer(state, folder))
    started = driver.started

    def dying(trial):
        if kill_after is not None and len(state.records) >= kill_after:
            raise Killed
        started(trial)

    driver.started = dying
    InProcessRunner().run(driver)
    return state


def study(folder):
    return optuna.load_study(study_name="axis", storage=JournalStorage(JournalFileBackend(str(folder / STUDY_FILE))))


def curves(state):
    return {n: {s: r.metrics for s, r in record.reports.items()} for n, record in state.records.items()}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_keeps_to_the_space_and_proposes_the_same_after_a_kill(sampler, tmp_path):
    whole = run(tmp_path / "whole", sampler)
    assert len(whole.records) == 9
    assignments = [record.trial.assignment for record in whole.records.values()]
    assert assignments[0]["objective.critic_dim"] == 3
    assert list(assignments[0]["network.hidden"]) == [4, 4]
    assert (assignments[1]["method"], assignments[1]["optimizer.learning_rate"]) == ("GAN", 2e-3)
    for assignment in assignments:
        assert ("objective.critic_dim" in assignment) == (assignment["method"] == "GRAM")
        assert 1e-4 <= assignment["optimizer.learning_rate"] <= 1e-2
        assert assignment["optimizer.beta1"] in [i / 10 for i in range(10)]
        assert assignment["network.noise_dim"] in range(1, 7)
    for kill_after in (1, 6) if sampler == "tpe" else (6,):  # in the middle of the points; where it has learned
        with pytest.raises(Killed):
            run(tmp_path / "cut", sampler, kill_after=kill_after)
    assert curves(run(tmp_path / "cut", sampler)) == curves(whole)
    assert_told(study(tmp_path / "whole"), whole)
    assert_told(study(tmp_path / "cut"), whole)


def assert_told(stored, state):
    """The study holds each trial with its values and its whole curve, and nothing is left open.

    Besides only what was proposed again (by nsga2, who crosses parents with themselves): told, not trained.
    """
    assert all(t.state == TrialState.COMPLETE for t in stored.trials)
    ours = {t.user_attrs["trial"]: t for t in stored.trials if "trial" in t.user_attrs}
    assert len(ours) + sum("repeats" in t.user_attrs for t in stored.trials) == len(stored.trials)
    assert len(ours) == len(state.records)
    for name, record in state.records.items():
        params = {k: json.loads(v) if k == "network.hidden" else v for k, v in ours[name].params.items()}
        params = {k: round(v, 9) if isinstance(v, float) else v for k, v in params.items()}  # 3 · 0.1 for 0.3
        assert params == {
            k: list(v) if k == "network.hidden" else round(v, 9) if isinstance(v, float) else v
            for k, v in record.trial.assignment.items()
        }
        means = {step: report.metrics["sliced_wasserstein"][0] for step, report in record.reports.items()}
        assert ours[name].intermediate_values == means
        assert ours[name].value == record.summary("sliced_wasserstein").mean


def test_a_study_that_is_lost_comes_back_with_values_and_curves(tmp_path):
    state = run(tmp_path, "tpe")
    (tmp_path / STUDY_FILE).unlink()
    run(tmp_path, "tpe")
    assert_told(study(tmp_path), state)  # they once came back with values drawn anew


def test_seeds_make_the_difference(tmp_path):
    one = run(tmp_path / "one", "random")
    path = write_space(tmp_path, SPACE.replace("name: tpe", "name: random").replace("seed: 4", "seed: 5"), SHORT)
    state = load_state(tmp_path, make_plan(load_sweep(path), tmp_path))
    proposer = OptunaProposer(state, tmp_path)
    other = [trial.name for trial in iter(proposer.propose, None)]
    assert len(set(other) & set(one.records)) == 0
    assert Status.FAILED not in {record.status for record in one.records.values()}
