"""Extending a finished sweep: more steps, more values of a grid, and failed trials again."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from sweeps import BASE, SPACE, write_space

from gramtune import api, load_sweep, open_run, resume_sweep, run_sweep
from gramtune.backends.mlflow.store import EXPERIMENT, default_uri
from gramtune.components import Objective, Optimizer
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState
from gramtune.registry import classes
from gramtune.run.trial_runner import TrialRun
from gramtune.space.load import Overrides
from gramtune.space.plan import make_plan
from gramtune.training.config import TrialConfig

RATES = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "optimizer.learning_rate: {grid: [1e-3, 1e30]}")
SAMPLED = (
    SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "optimizer.learning_rate: {loguniform: [1e-4, 1e-2]}")
    + "search: {name: tpe, samples: 3}\n"
)


class NoTracker:
    """MLflow takes longer than these trials; one test below has it."""

    stored, link, hint, remedy = 0, "", "", ""

    def sync(self, state, rest=None):
        pass

    def finish(self, state, folder):
        pass


@pytest.fixture
def lean(monkeypatch):
    """Sweeps without tracking and figures."""
    monkeypatch.setattr(api, "make_tracker", lambda *_: NoTracker())
    monkeypatch.setattr(api, "rewrite", lambda *_: "")


def run(folder, runs="runs", space=SPACE, base=BASE, debug=True, **overrides):
    path = write_space(folder, space, base)
    return run_sweep(load_sweep(path, Overrides(**overrides)), folder / runs, debug=debug, say=lambda line: None)


def go_on(result, **more):
    said = []
    return resume_sweep(result.folder, debug=True, say=said.append, **more), said


def values(result):
    frame = result.frame.sort_values(["trial", "replicate", "step", "metric"], ignore_index=True)
    return frame[["trial", "replicate", "seed", "step", "metric", "value"]]


def assert_same(one, other):
    pd.testing.assert_frame_equal(values(one), values(other), check_exact=True)
    columns = ["trial", "status", "reason", "n", "steps"]
    pd.testing.assert_frame_equal(one.trials[columns], other.trials[columns])


# Steps


@pytest.mark.parametrize("number", range(len(classes(Objective))), ids=list(classes(Objective)))
def test_a_longer_trial_is_the_same_as_one_that_was_long_from_the_start(number, fitting, tmp_path):
    """For every objective, and each optimizer beside one of them: reports and the final checkpoint."""
    optimizers = list(classes(Optimizer))
    optimizer = {"name": optimizers[number % len(optimizers)], "learning_rate": 1e-3, "schedule": {"warmup": 3}}
    settings = fitting(list(classes(Objective))[number]).model_dump() | {"optimizer": optimizer}

    def reports(folder, *lengths):
        found = []
        for steps in lengths:
            training = settings["training"] | {"steps": steps, "eval_every": 2, "ema": 0.9}
            trial = TrialRun(
                TrialConfig.model_validate(settings | {"training": training}), folder, Path(), torch.device("cpu")
            )
            report = trial.step().to_json()
            while report["status"] == "RUNNING":
                found.append(report)
                report = trial.step().to_json()
            found.append(report)
        return {report["step"]: (report["metrics"], report["traces"], report["status"]) for report in found}

    assert reports(tmp_path / "pieces", 4, 8) == reports(tmp_path / "whole", 8)
    ends = [torch.load(tmp_path / each / "checkpoint-00000008.pt") for each in ("pieces", "whole")]
    for a, b in zip(*(end["trainer"]["replicates"] for end in ends), strict=True):
        assert a["generator_steps"] == b["generator_steps"] == 8
        for part in ("networks", "average"):
            assert str(a[part]) == str(b[part])


def test_more_steps_make_the_sweep_that_had_them_from_the_start(tmp_path):
    """A trial of which all replicates have diverged has no further step to take."""
    short = run(tmp_path, space=RATES)
    grown, _ = go_on(short, settings=["training.steps=12"])
    assert grown.complete
    whole = run(tmp_path, "whole", RATES, BASE.replace("steps: 6", "steps: 12"))
    assert list(grown.trials["status"]) == ["COMPLETED", "DIVERGED"]
    assert_same(grown, whole)
    client = MlflowClient(default_uri(grown.folder.parent))
    (experiment,) = client.search_experiments(filter_string=f"name = '{EXPERIMENT}'")
    (trial,) = client.search_runs([experiment.experiment_id], "tags.`gramtune.trial_id` = 'learning_rate=0.001'")
    assert trial.info.status == "FINISHED"
    assert {point.step for point in client.get_metric_history(trial.info.run_id, "fid_digits")} == {0, 3, 6, 9, 12}


@pytest.mark.usefixtures("lean")
def test_more_steps_of_a_sampled_sweep_are_told_to_its_study(tmp_path):
    """Optuna takes no end of a trial back: the study is made anew, with the values of the longer training."""
    grown, _ = go_on(run(tmp_path, space=SAMPLED), settings=["training.steps=9"], samples=4)
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(grown.folder / "study.journal")))
    trials = optuna.load_study(study_name="axis", storage=storage).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert all(max(trial.intermediate_values) == 9 for trial in trials)
    assert [trial.value for trial in trials] == pytest.approx(list(grown.trials["mean"]))


def test_a_trial_with_a_live_replicate_goes_on_and_one_without_does_not(tmp_path):
    path = write_space(tmp_path)
    state = SweepState(make_plan(load_sweep(path, Overrides(set=("training.steps=12",))), tmp_path))
    ends = {"critic_dim=1": ("why", None), "critic_dim=4": ("why", "why"), "critic_dim=16": (None, None)}
    for name, diverged in ends.items():
        status = Status.DIVERGED if any(diverged) else Status.COMPLETED
        scores = {"fid_digits": [None if why else 1.0 for why in diverged]}
        state.reported(name, Report(6, scores, {}, 100, 1.0, 0, status, "", diverged))
    state.reopen()
    assert [record.trial.name for record in state.unfinished] == ["critic_dim=1", "critic_dim=16"]


@pytest.mark.usefixtures("lean")
@pytest.mark.parametrize(
    ("change", "more", "rule"),
    [
        ({}, {"settings": ["training.steps=3"]}, r"training.steps 6 → 3: steps cannot be removed"),
        ({}, {"settings": ["training.steps=12"], "replicates": 3}, "cannot grow at once"),
        ({"eval_every: 3": "eval_every: 4"}, {"settings": ["training.steps=12"]}, "evaluated after step 6"),
        (
            {"learning_rate: 1e-3": "learning_rate: 1e-3, schedule: cosine"},
            {"settings": ["training.steps=12"]},
            r"optimizer.schedule has no `steps`",
        ),
        ({}, {"settings": ["training.batch_size=8"]}, r"training.batch_size 16 → 8"),
    ],
)
def test_steps_that_would_give_other_numbers_are_refused(change, more, rule, tmp_path):
    base = BASE
    for old, new in change.items():
        base = base.replace(old, new)
    short = run(tmp_path, space=SPACE.replace("[1, 4, 16]", "[1]"), base=base)
    with pytest.raises(ValueError, match=rule):
        go_on(short, **more)


@pytest.mark.usefixtures("lean")
def test_replicates_are_added_to_longer_trials_but_steps_not_to_added_replicates(tmp_path):
    space = SPACE.replace("[1, 4, 16]", "[1]")
    longer, _ = go_on(run(tmp_path, space=space), settings=["training.steps=9"])
    grown, _ = go_on(longer, replicates=3)
    assert list(grown.trials["n"]) == [3]
    with pytest.raises(ValueError, match="cannot grow after replicates were added"):
        go_on(grown, settings=["training.steps=12"])


# Values of a grid


@pytest.mark.usefixtures("lean")
def test_further_values_are_trained_and_earlier_trials_are_kept(tmp_path):
    first = run(tmp_path, space=SPACE.replace("[1, 4, 16]", "[1, 16]"))
    journal = first.folder / "journal.jsonl"
    before = journal.read_text()
    grown, _ = go_on(first, add=["objective.critic_dim=[4, 16]"])
    whole = run(tmp_path, "whole", SPACE.replace("[1, 4, 16]", "[1, 16, 4]"))
    assert_same(grown, whole)
    added = journal.read_text().removeprefix(before)
    assert "critic_dim=4" in added
    assert "critic_dim=16" not in added
    again = run(tmp_path, space=SPACE.replace("[1, 4, 16]", "[1, 4, 16, 2]"))  # an edited file does the same
    assert set(again.trials["trial"]) == {f"critic_dim={k}" for k in (1, 2, 4, 16)}


@pytest.mark.usefixtures("lean")
@pytest.mark.parametrize(
    ("addition", "rule"),
    [
        ("objective.critic_dm=[4]", "did you mean 'objective.critic_dim'"),
        ("objective.critic_dim", r"should be key=\[values\]"),
        ("objective.critic_dim=[-4]", "-4"),
    ],
)
def test_a_wrong_addition_is_one_line(addition, rule, tmp_path):
    first = run(tmp_path, space=SPACE.replace("[1, 4, 16]", "[1]"))
    with pytest.raises(ValueError, match=rule) as caught:
        go_on(first, add=[addition])
    assert len(str(caught.value).splitlines()) == 1


# Failed trials


@pytest.mark.usefixtures("lean")
def test_with_debug_an_exception_of_a_trial_is_raised_and_the_sweep_goes_on_from_there(tmp_path):
    """The trial was FAILED, the others went on, and a debugger saw nothing."""
    obstacle = tmp_path / "runs" / "axis" / "trials" / "critic_dim=4" / "samples"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where the trial wants a folder")
    with pytest.raises(FileExistsError) as caught:
        run(tmp_path)
    assert caught.traceback[-1].name == "mkdir"  # where a debugger stops
    assert caught.value.__notes__ == ["in trial critic_dim=4, after its last checkpoint"]
    first = open_run(tmp_path / "runs" / "axis")
    assert list(first.trials["status"]) == ["COMPLETED", "RUNNING", "PENDING"]
    assert pd.read_csv(first.folder / "trials.csv")["status"].tolist() == ["COMPLETED", "RUNNING", "PENDING"]
    obstacle.unlink()
    resumed, _ = go_on(first)
    assert resumed.complete
    assert_same(resumed, run(tmp_path, "whole"))


@pytest.mark.usefixtures("lean", "local_ray")
def test_failed_trials_are_tried_again_from_their_last_checkpoint(tmp_path):
    obstacle = tmp_path / "runs" / "axis" / "trials" / "critic_dim=4" / "samples"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where the trial wants a folder")
    first = run(tmp_path, debug=False)
    assert list(first.trials["status"]) == ["COMPLETED", "FAILED", "COMPLETED"]
    obstacle.unlink()
    assert list(go_on(first)[0].trials["status"]) == ["COMPLETED", "FAILED", "COMPLETED"]
    retried, said = go_on(first, retry_failed=True)
    assert "1 failed trial: continued from the last checkpoint" in said
    shutil.rmtree(tmp_path / "whole", ignore_errors=True)
    assert_same(retried, run(tmp_path, "whole"))
