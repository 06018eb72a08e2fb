"""A sweep that already exists: what can be added to it, what is refused, and the messages."""

import json
import os
import pty
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from mlflow import MlflowClient
from sweeps import SPACE, write_space

from gramtune import load_sweep, resume_sweep, run_sweep
from gramtune.backends.mlflow.store import EXPERIMENT, default_uri
from gramtune.errors import SpecError
from gramtune.record.journal import load_state
from gramtune.run.driver import Driver, NothingNew
from gramtune.run.lock import driving
from gramtune.space.load import Overrides
from gramtune.space.plan import make_plan

RATES = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "optimizer.learning_rate: {grid: [1e-3, 1e30, 2e-3]}")


def once(folder, runs="runs", space=SPACE, debug=True, **overrides):
    said = []
    path = write_space(folder, space)
    result = run_sweep(load_sweep(path, Overrides(**overrides)), folder / runs, debug=debug, say=said.append)
    return result, said


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    return once(tmp_path_factory.mktemp("finished"))[0].folder


@pytest.fixture
def finished(finished_once, tmp_path):
    """A finished sweep of SPACE in tmp_path/runs, for this test alone."""
    return shutil.copytree(finished_once.parent, tmp_path / "runs") / "axis"


def values(result):
    """Every value, by what it is of; `samples` and the columns of the space say nothing more."""
    return result.frame.set_index(["trial", "replicate", "seed", "step", "metric"])["value"].sort_index()


def summaries(result):
    return result.trials[["trial", "status", "reason", "n", "steps"]]


def test_added_replicates_are_those_of_a_sweep_that_had_them_from_the_start(tmp_path):
    """A trial that diverged is given more too: how many of its seeds do is a result."""
    first, _ = once(tmp_path, space=RATES)
    said = []
    grown = resume_sweep(first.folder, replicates=5, debug=True, say=said.append)
    whole, _ = once(tmp_path, "whole", RATES, replicates=5)
    assert grown.complete
    pd.testing.assert_series_equal(values(grown), values(whole), rtol=1e-4)
    pd.testing.assert_frame_equal(summaries(grown), summaries(whole))
    assert list(grown.trials["status"]) == ["COMPLETED", "DIVERGED", "COMPLETED"]
    kept = values(grown).loc[lambda v: v.index.get_level_values("replicate") < 2]
    pd.testing.assert_series_equal(kept, values(first), check_exact=True)  # nothing was trained again
    assert load_sweep(grown.folder / "sweep.yaml") == load_sweep(whole.folder / "sweep.yaml")


def test_a_sweep_of_the_same_name_with_more_replicates_adds_them(finished, tmp_path):
    journal = finished / "journal.jsonl"
    before = journal.read_text()
    grown, _ = once(tmp_path, replicates=3)
    assert grown.complete
    assert list(grown.trials["n"]) == [3, 3, 3]
    assert journal.read_text().startswith(before)
    added = [json.loads(line) for line in journal.read_text()[len(before) :].splitlines()]
    assert {event["first"] for event in added if "step" in event} == {2}
    assert_stored_once(grown)
    with pytest.raises(ValueError, match="has 3 replicates; --replicates 2 cannot remove any"):
        resume_sweep(finished, replicates=2, debug=True)


def assert_stored_once(result):
    """MLflow has one run per trial, and one value per step: the mean over all replicates."""
    client = MlflowClient(default_uri(result.folder.parent))
    (experiment,) = client.search_experiments(filter_string=f"name = '{EXPERIMENT}'")
    own = (result.folder / "sweep_id").read_text().split()[0]  # the copy of a sweep is tracked apart from it
    ours = f"tags.`gramtune.kind` = 'trial' and tags.`gramtune.sweep_id` = '{own}'"
    runs = client.search_runs([experiment.experiment_id], ours)
    assert {run.data.tags["gramtune.trial_id"] for run in runs} == set(result.trials["trial"])
    assert len(runs) == 3
    frame = result.frame
    for run in runs:
        rows = frame[(frame["trial"] == run.data.tags["gramtune.trial_id"]) & (frame["metric"] == "fid_digits")]
        expected = rows.groupby("step")["value"].mean()
        stored = client.get_metric_history(run.info.run_id, "fid_digits")
        assert [point.step for point in sorted(stored, key=lambda p: p.step)] == list(expected.index)
        assert [point.value for point in sorted(stored, key=lambda p: p.step)] == pytest.approx(list(expected))
        assert run.data.tags["gramtune.replicates"] == "3 of 3"
        assert run.info.status == "FINISHED"


@pytest.mark.usefixtures("local_ray")
def test_pruned_and_failed_trials_stay_as_they_are_and_it_is_said(tmp_path):
    space = (
        SPACE.replace("[1, 4, 16]", "[1, 4, 16, 32]")
        + "pruner: {name: asha, min_steps: 3, reduction_factor: 4, min_trials: 2}\n"
    )
    obstacle = tmp_path / "runs" / "axis" / "trials" / "critic_dim=32" / "samples"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where the trial wants a folder")
    first, _ = once(tmp_path, space=space, debug=False)  # which would let the exception through
    before = dict(zip(first.trials["trial"], first.trials["status"], strict=True))
    assert set(before.values()) == {"COMPLETED", "PRUNED", "FAILED"}
    said = []
    grown = resume_sweep(first.folder, replicates=4, debug=True, say=said.append)
    pruned = list(before.values()).count("PRUNED")
    assert f"{pruned} PRUNED, 1 FAILED: get no further replicates, because they did not finish training" in said
    assert dict(zip(grown.trials["trial"], grown.trials["status"], strict=True)) == before
    n = dict(zip(grown.trials["trial"], grown.trials["n"], strict=True))
    assert all(n[trial] == {"COMPLETED": 4, "PRUNED": 2, "FAILED": 0}[status] for trial, status in before.items())


def test_a_raised_budget_gives_the_table_of_a_sweep_without_one(finished_once, tmp_path):
    stopped, _ = once(tmp_path, space=SPACE + "budget: {steps: 8}\n")
    assert stopped.complete
    assert set(stopped.trials["status"]) == {"COMPLETED", "STOPPED"}
    assert set(stopped.trials["reason"]) == {"", "budget of 8 training steps reached"}
    with pytest.raises(ValueError, match="a budget has stopped this one; resume it with a larger budget first"):
        resume_sweep(stopped.folder, replicates=4, debug=True)
    raised, _ = once(tmp_path, space=SPACE + "budget: {steps: 800}\n")
    whole = pd.read_parquet(finished_once / "results.parquet")
    pd.testing.assert_frame_equal(sorted_rows(raised.frame), sorted_rows(whole), check_exact=True)
    assert set(raised.trials["status"]) == {"COMPLETED"}


def sorted_rows(frame):
    return frame.sort_values(["trial", "replicate", "step", "metric"], ignore_index=True)


def test_wall_clock_counts_over_all_runs_of_the_command(tmp_path):
    path = write_space(tmp_path)
    plan = make_plan(load_sweep(path), tmp_path)
    started = {"trial": "critic_dim=1", "status": "RUNNING", "assignment": {"objective.critic_dim": 1}}
    events = [
        {"time": 100.0, "driver": 1},
        {"time": 130.0, **started},
        {"time": 5000.0, "driver": 2},  # the first was killed some time after its last word
        {"time": 5007.0, **started},
        {"time": 5002.0, **started},  # a clock that was set back
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert load_state(tmp_path, plan).elapsed == 37.0
    ended = Driver(load_state(tmp_path, plan), tmp_path, NothingNew())
    assert ended.next().name == "critic_dim=1"
    spent = make_plan(load_sweep(path, Overrides(time_budget=36.0)), tmp_path)
    state = load_state(tmp_path, spent)
    assert Driver(state, tmp_path, NothingNew()).next() is None
    assert [record.status for record in state.records.values()] == ["STOPPED"] * 3
    assert {record.reason for record in state.records.values()} == {"time budget of 36 s reached"}


def test_another_sweep_of_that_name_is_refused_and_the_keys_are_named(finished, tmp_path):
    table = (finished / "results.csv").read_bytes()
    with pytest.raises(ValueError, match="results are not mixed") as caught:
        once(tmp_path, set=("training.batch_size=8",), replicates=5)
    assert "training.batch_size 16 → 8" in str(caught.value)
    assert "gramtune resume" in str(caught.value)
    with pytest.raises(ValueError, match=r"space.objective.critic_dim.grid \[1, 4, 16\] → \[1, 4\]"):
        once(tmp_path, space=SPACE.replace("[1, 4, 16]", "[1, 4]"))
    with pytest.raises(ValueError, match="this sweep already exists, 3 of 3 trials finished; to continue it unchanged"):
        once(tmp_path, space=SPACE.replace("Does K matter?", "Another question, the same sweep."))
    assert (finished / "results.csv").read_bytes() == table
    assert "batch_size: 16" in (finished / "sweep.yaml").read_text()


def test_a_sweep_has_one_driver(finished):
    with driving(finished), pytest.raises(SpecError, match=rf"process {os.getpid()} on .* is running this sweep"):
        resume_sweep(finished, debug=True)
    assert resume_sweep(finished, debug=True).complete  # the lock went with its holder


def test_changed_code_packages_and_data_are_said_on_resume(finished):
    said = []
    resume_sweep(finished, debug=True, say=said.append)
    assert not any("warning" in line for line in said)
    file = finished / "versions.json"
    then = json.loads(file.read_text())
    packages = {**then["packages"], "torch": "1.0"}
    file.write_text(json.dumps({**then, "code": "0" * 16, "packages": packages, "data": ["digits-other"]}))
    resume_sweep(finished, debug=True, say=said.append)
    (warning,) = [line for line in said if line.startswith("warning")]
    for change in ("gramtune's code (commit ", "torch 1.0 → ", "data digits-other → "):
        assert change in warning
    events = [json.loads(line) for line in (finished / "journal.jsonl").read_text().splitlines()]
    assert [len(event["changed"]) for event in events if "driver" in event] == [0, 0, 3]


@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("y", 0)])
def test_a_person_at_a_terminal_is_asked_whether_to_go_on(answer, code, finished, tmp_path):
    write_space(tmp_path)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "gramtune.cli.main", "sweep", "axis.yaml", "--debug"]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.write(master, f"perhaps\n{answer}\n".encode())
    said = b""
    while chunk := read(master):
        said += chunk
    assert process.wait() == code, said.decode()
    assert said.decode().count("already holds this sweep, 3 of 3 trials finished. Resume it? [y/n]") == 2
    assert ("to continue it unchanged: gramtune resume runs/axis" in said.decode()) == (answer == "n")


def read(terminal):
    try:
        return os.read(terminal, 1024)
    except OSError:  # how Linux says that nobody is left at the other end
        return b""
