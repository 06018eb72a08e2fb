"""Real failures while a sweep runs: each trial ends with a status and a reason in words."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sweeps import BASE, SPACE, write_space

from gramtune import load_sweep, resume_sweep, run_sweep
from gramtune.record.journal import load_state
from gramtune.record.layout import checkpoints, trial_folder
from gramtune.record.report import Status
from gramtune.run.driver import Driver, NothingNew
from gramtune.run.in_process import InProcessRunner
from gramtune.space.plan import make_plan

SIZES = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "training.batch_size: {grid: [8, 1000000000000, 16]}")
COMMAND = [sys.executable, "-m", "gramtune.cli.main"]


def planned(folder, space=SPACE, base=BASE):
    path = write_space(folder, space, base)
    return make_plan(load_sweep(path), folder)


def run(runner, plan, folder, reports=None):
    """Runs until the end, or until so many reports have come."""
    folder.mkdir(exist_ok=True)
    state = load_state(folder, plan)
    driver = Driver(state, folder, NothingNew())
    heard, left = driver.heard, [reports]

    def counted(message, say):
        going_on = heard(message, say)
        if left[0] is not None:
            left[0] -= 1
            if not left[0]:
                driver.halt("enough")
        return going_on and not driver.halted

    driver.heard = counted
    runner.run(driver)
    return state


def numbers(state):
    return {
        name: [(r.step, r.metrics, r.traces) for r in record.reports.values()] for name, record in state.records.items()
    }


def test_a_truncated_checkpoint_is_reported_and_the_one_before_is_used(tmp_path):
    plan, folder, said = planned(tmp_path), tmp_path / "run", []
    run(InProcessRunner(said.append), plan, folder, reports=2)
    newest, before = checkpoints(trial_folder(folder, "critic_dim=1"))
    assert (newest.name, before.name) == ("checkpoint-00000003.pt", "checkpoint-00000000.pt")
    os.truncate(newest, 1000)
    state = run(InProcessRunner(said.append), plan, folder)
    (line,) = said
    assert line.startswith(f"critic_dim=1: checkpoint {newest}: ")
    assert line.endswith("; the trial continues from step 0")
    assert numbers(state) == numbers(run(InProcessRunner(), plan, tmp_path / "whole"))


@pytest.mark.parametrize("kind", ["ray", "debug"])
def test_a_trial_that_runs_out_of_memory_fails_in_words_and_the_others_go_on(kind, request, tmp_path):
    """Its batch of 10¹² indices takes terabytes: the allocator refuses at once, as it does where little is left."""
    if kind == "ray":
        request.getfixturevalue("local_ray")
        from gramtune.backends.ray.runner import RayRunner

        runner = RayRunner(lambda line: None)
    else:
        runner = InProcessRunner()
    records = run(runner, planned(tmp_path, SIZES), tmp_path / kind).records
    assert [r.status for r in records.values()] == [Status.COMPLETED, Status.FAILED, Status.COMPLETED]
    reason = records["batch_size=1000000000000"].reason
    assert re.fullmatch(r"out of memory: it asked for \d\S* GiB at once", reason), reason
    traceback = tmp_path / kind / "trials" / "batch_size=1000000000000" / "error.txt"
    assert "allocate memory" in traceback.read_text()


def images(folder):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for index in range(60):
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / f"{index}.png")


def test_a_data_set_that_vanishes_halts_the_sweep_and_it_resumes(tmp_path, monkeypatch):
    """Every later trial would fail by the same missing file: so none is failed, and nothing is lost."""
    monkeypatch.setenv("GRAMTUNE_DATA", str(tmp_path / "data"))
    pictures = tmp_path / "pictures"
    images(pictures)
    data = f"data: {{name: image_folder, path: {pictures}, size: 8, grey: true}}"
    path = write_space(tmp_path, SPACE, BASE.replace("data: {name: digits}", data))

    class Vanishing:
        """Takes the pictures away when the first trial has ended."""

        def __init__(self, state):
            self.state, self.reported = state, state.reported

        def __enter__(self):
            self.state.reported = self.taken

        def __exit__(self, *error):
            del self.state.reported

        def taken(self, name, report):
            self.reported(name, report)
            if report.status == Status.COMPLETED and pictures.exists():
                shutil.move(pictures, tmp_path / "elsewhere")

    said = []
    halted = run_sweep(path, tmp_path / "runs", debug=True, say=said.append, watch=Vanishing)
    assert not halted.complete
    assert halted.problem == f"data set image_folder: {pictures} is not a folder"
    assert list(halted.trials["status"]) == ["COMPLETED", "RUNNING", "PENDING"]
    assert f"{halted.problem}; fix that, then resume with: gramtune resume {halted.folder}" in said
    shutil.move(tmp_path / "elsewhere", pictures)
    resumed = resume_sweep(halted.folder, debug=True, say=said.append)
    assert list(resumed.trials["status"]) == ["COMPLETED"] * 3


def test_a_sweep_in_which_a_trial_failed_ends_with_exit_code_1(tmp_path):
    write_space(tmp_path, SIZES)
    done = subprocess.run([*COMMAND, "sweep", "axis.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "FAILED batch_size = 1000000000000: out of memory: it asked for" in done.stdout
    trials = pd.read_csv(tmp_path / "runs" / "axis" / "trials.csv", keep_default_na=False)
    assert list(trials["status"]) == ["COMPLETED", "FAILED", "COMPLETED"]
    assert all(
        bool(reason) == (status == "FAILED") for reason, status in zip(trials["reason"], trials["status"], strict=True)
    )
