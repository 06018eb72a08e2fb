"""The same sweep on Ray: equal numbers, and no reported result is lost when a process is killed."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from sweeps import SPACE, write_space

from gramtune.record.journal import load_state
from gramtune.record.report import Status
from gramtune.record.state import SweepState
from gramtune.run.driver import Driver, NothingNew
from gramtune.run.in_process import InProcessRunner
from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import make_plan


@pytest.fixture
def ray_runner(local_ray):
    from gramtune.backends.ray.runner import RayRunner

    said = []
    runner = RayRunner(said.append)
    runner.said = said
    return runner


def planned(folder, space=SPACE, **overrides):
    folder.mkdir(exist_ok=True)
    path = write_space(folder, space)
    return make_plan(load_sweep(path, Overrides(**overrides)), folder)


def run(runner, plan, folder):
    folder.mkdir(parents=True, exist_ok=True)
    state = load_state(folder, plan)
    runner.run(Driver(state, folder, NothingNew()))
    return state


def numbers(state):
    return {
        name: [(r.step, r.metrics, r.traces, r.status) for r in record.reports.values()]
        for name, record in state.records.items()
    }


def ours(pid):
    """Whether the process is a descendant of this one: other sweeps may run on this machine."""
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return False


def actors():
    """Processes of this test's trials that are running now."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if b"Trainable.train" in (entry / "cmdline").read_bytes() and ours(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:  # the process has ended meanwhile
                continue
    return found


def test_ray_gives_the_numbers_of_the_in_process_runner(ray_runner, tmp_path):
    plan = planned(tmp_path)
    on_ray = run(ray_runner, plan, tmp_path / "ray")
    in_process = run(InProcessRunner(), plan, tmp_path / "debug")
    assert numbers(on_ray) == numbers(in_process)
    assert all(record.status == Status.COMPLETED for record in on_ray.records.values())
    assert numbers(load_state(tmp_path / "ray", plan)) == numbers(on_ray)


def test_a_killed_actor_goes_on_from_its_checkpoint(ray_runner, tmp_path):
    settings = ("training.steps=300", "training.eval_every=50")
    plan = planned(tmp_path, SPACE.replace("[1, 4, 16]", "[4]"), set=settings)
    folder = tmp_path / "ray"
    folder.mkdir()
    state = SweepState(plan)
    killed = []

    def kill_after_two_reports():
        while len(state.records["critic_dim=4"].reports) < 2:
            time.sleep(0.01)
        while not (found := actors()):
            time.sleep(0.01)
        killed.extend(found)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_after_two_reports)
    killer.start()
    ray_runner.run(Driver(state, folder, NothingNew()))
    killer.join()
    assert killed
    assert any("it restarts from its newest checkpoint" in line for line in ray_runner.said)
    assert state.records["critic_dim=4"].status == Status.COMPLETED
    assert numbers(state) == numbers(run(InProcessRunner(), plan, tmp_path / "debug"))


@pytest.mark.parametrize("kind", ["ray", "debug"])
def test_one_trial_diverges_one_fails_the_others_go_on(kind, request, tmp_path):
    runner = request.getfixturevalue("ray_runner") if kind == "ray" else InProcessRunner()
    plan = planned(tmp_path, SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "optimizer.learning_rate: {grid: [1e-3, 1e30, 2e-3]}"))  # fmt: skip  # noqa: E501
    folder = tmp_path / kind
    obstacle = folder / "trials" / "learning_rate=0.002" / "samples"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where the trial wants a folder")
    records = run(runner, plan, folder).records
    assert [r.status for r in records.values()] == [Status.COMPLETED, Status.DIVERGED, Status.FAILED]
    assert "2 of 2 replicates diverged" in records["learning_rate=1e+30"].reason
    assert "FileExistsError" in records["learning_rate=0.002"].reason
    assert "FileExistsError" in (obstacle.parent / "error.txt").read_text()


def test_a_gpu_share_is_dropped_with_one_line_where_there_is_none(ray_runner, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    plan = planned(tmp_path, SPACE.replace("[1, 4, 16]", "[4]").replace("gpu: 0}", "gpu: 0.25}"))
    state = run(ray_runner, plan, tmp_path / "ray")
    assert state.records["critic_dim=4"].status == Status.COMPLETED
    assert ray_runner.said == ["no GPU here: gpu: 0.25 is ignored, each trial runs on 1 CPU core"]


def test_a_trial_that_hangs_is_killed_and_fails_with_the_reason(ray_runner, tmp_path):
    space = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "training.eval_every: {grid: [3, 1000000]}")
    space = space.replace("gpu: 0}", "gpu: 0, timeout: 15, retries: 0}")
    plan = planned(tmp_path, space, set=("training.steps=1000000",))  # an evaluation that is hours away
    state = load_state(tmp_path, plan)
    driver = Driver(state, tmp_path, NothingNew())
    reported = driver.reported
    driver.reported = lambda name, report: reported(name, report) and report.step < 30
    ray_runner.run(driver)
    record = state.records["eval_every=1000000"]
    assert record.status == Status.FAILED
    assert record.reason == "no report within 15 s; hang.txt in its folder shows where it hung"
    stack = (tmp_path / "trials" / "eval_every=1000000" / "hang.txt").read_text()
    assert stack.startswith("Timeout (0:00:15)!")
    assert ".py" in stack
    assert state.records["eval_every=3"].last.step == 30


@pytest.mark.parametrize(
    ("budget", "reason"),
    [("{steps: 20}", "budget of 20 training steps reached"), ("{seconds: 1e-3}", "time budget of 0.001 s reached")],
)
def test_a_budget_that_is_reached_ends_the_sweep_cleanly(budget, reason, tmp_path):
    plan = planned(tmp_path, SPACE + f"budget: {budget}\n")
    state = load_state(tmp_path, plan)
    driver = Driver(state, tmp_path, NothingNew())
    InProcessRunner().run(driver)
    started = [r for r in state.records.values() if r.reports]
    assert driver.exhausted
    assert len(started) < len(state.records)
    assert all(r.status in (Status.COMPLETED, Status.STOPPED) for r in state.records.values())
    assert {r.reason for r in state.records.values() if r.status == Status.STOPPED} == {reason}
