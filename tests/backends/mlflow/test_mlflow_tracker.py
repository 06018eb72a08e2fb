"""What is stored in MLflow, read back with MLflow's client: real stores, and a real server that is killed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from PIL import Image
from stores import artifacts, assert_exactly_once, content, history, stored

from gramtune.backends.mlflow.run_contents import run_name
from gramtune.backends.mlflow.runs import Point, SweepRuns, legal_key
from gramtune.backends.mlflow.server import running_server
from gramtune.backends.mlflow.store import checked_uri, default_uri, found_stores
from gramtune.backends.mlflow.tracker import MlflowTracker
from gramtune.backends.mlflow.view import newest_view
from gramtune.errors import SpecError
from gramtune.record.layout import trial_folder
from gramtune.record.redaction import redact
from gramtune.record.report import Report, Status
from gramtune.record.state import SweepState
from gramtune.record.tracker import TrackerUnavailable
from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import Plan, make_plan

SPACE = Path(__file__).parents[3] / "search_spaces" / "critic_dim.yaml"
METRIC = "fid_digits"
START = 1_700_000_000
HOSTILE = "runs with spaces, ü, 100% & #1"
"""Name of the folder in which the tests work."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    settings = ("training.steps=20", "training.eval_every=10", "network.width=4")
    return make_plan(load_sweep(SPACE, Overrides(set=settings, replicates=2)), tmp_path_factory.mktemp("data"))


@pytest.fixture
def folder(tmp_path: Path, migrated: Path) -> Path:
    """A sweep's folder beside a store."""
    runs = tmp_path / HOSTILE
    (runs / ".mlflow").mkdir(parents=True)
    shutil.copy(migrated, runs / ".mlflow" / "mlflow.db")
    (runs / "critic-dim").mkdir()
    return runs / "critic-dim"


@pytest.fixture
def uri(folder: Path) -> str:
    return default_uri(folder.parent)


def make_report(step: int, *, value: float = 10.0, status: Status = Status.RUNNING, reason: str = "") -> Report:
    return Report(
        step=step,
        metrics={METRIC: [value, value + 2]},
        traces={"loss/critic": [1.0 + step, 3.0 + step], "trace/mmd2": [0.5, None]} if step else {},
        samples=1024,
        seconds=float(step),
        timestamp=START + step,
        status=status,
        reason=reason,
    )


def evaluated(state: SweepState, folder: Path, name: str, report: Report) -> None:
    """What a runner does at each evaluation: sample grid and checkpoint on disk, then the report."""
    place = trial_folder(folder, name)
    (place / "samples").mkdir(parents=True, exist_ok=True)
    Image.new("L", (145, 19), color=report.step).save(place / "samples" / f"step-{report.step:08d}.png")
    (place / f"checkpoint-{report.step:08d}.pt").write_bytes(f"weights at {report.step}".encode())
    state.reported(name, report)


def run_trial(
    state: SweepState, folder: Path, name: str, *, value: float = 10.0, last: Status = Status.COMPLETED
) -> None:
    state.started(state.records[name].trial)
    for step in (0, 10):
        evaluated(state, folder, name, make_report(step, value=value + 10 - step / 2))
    evaluated(
        state, folder, name, make_report(20, value=value, status=last, reason="" if last == "COMPLETED" else "why")
    )


def test_a_finished_trial_is_stored_in_full(plan: Plan, folder: Path, uri: str, tmp_path: Path) -> None:
    state, name = SweepState(plan), plan.trials[3].name
    run_trial(state, folder, name, value=10.0)
    MlflowTracker(uri, folder).sync(state)

    parent, children = stored(uri)
    run = children[name]
    assert (list(children), run.info.run_name) == (["critic_dim=8"], "3: gram K=8")
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (START * 1000, (START + 20) * 1000)
    assert run.data.params["objective.critic_dim"] == "8"
    assert history(uri, run, METRIC) == [(0, 21.0), (10, 16.0), (20, 11.0)]
    assert history(uri, run, f"{METRIC}/replicate_1") == [(0, 22.0), (10, 17.0), (20, 12.0)]
    assert run.data.metrics[f"{METRIC}_std"] == pytest.approx(2**0.5)
    assert history(uri, run, "loss/critic") == [(10, 12.0), (20, 22.0)]
    assert history(uri, run, "trace/mmd2") == [(10, 0.5), (20, 0.5)], "the mean is over those that have a value"
    assert_exactly_once(uri, state)
    tags = {key.removeprefix("gramtune."): value for key, value in run.data.tags.items()}
    assert (tags["status"], tags["samples"], tags["replicates"]) == ("COMPLETED", "1024", "2 of 2")
    assert yaml.safe_load(content(uri, run, "config.yaml", tmp_path))["objective"]["critic_dim"] == 8
    assert content(uri, run, "checkpoint/trainer.pt", tmp_path) == b"weights at 20"
    assert parent.info.status == "RUNNING"
    assert parent.data.metrics == {f"{METRIC}_best": 11.0}
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("**Best: trial 3, gram K=8**, fid_digits 11 ± 1.414 (lower is")


def test_a_sweep_without_trials_yet_is_stored(plan: Plan, folder: Path, uri: str) -> None:
    MlflowTracker(uri, folder).sync(SweepState(replace(plan, trials=())))  # faster than a search's first proposal
    _, children = stored(uri)
    assert not children


def test_images_have_the_names_that_the_slider_reads(plan: Plan, folder: Path, uri: str, tmp_path: Path) -> None:
    state, name = SweepState(plan), plan.trials[0].name
    run_trial(state, folder, name)
    for _ in range(2):
        MlflowTracker(uri, folder).sync(state)
    run = stored(uri)[1][name]
    assert run.data.tags["mlflow.loggedImages"] == "True"
    names = sorted(artifacts(uri, run, "images"))
    assert len(names) == 6
    pattern = re.compile(r"samples~fixed_noise\+step\+(\d+)\+timestamp\+\d+\+[0-9a-f-]{36}(\.png|\+compressed\.webp)")
    steps = [int(match[1]) for match in map(pattern.fullmatch, names) if match]
    assert sorted(steps) == [0, 0, 10, 10, 20, 20]
    webp = next(file for file in names if file.endswith("webp") and "+step+20+" in file)
    target = tmp_path / "downloaded.webp"
    target.write_bytes(content(uri, run, f"images/{webp}", tmp_path))
    with Image.open(target) as image:
        assert image.size == (145 * 4, 19 * 4)
        assert image.convert("L").getextrema() == (20, 20)


def test_a_damaged_picture_is_named_and_stops_nothing(plan: Plan, folder: Path, uri: str) -> None:
    state, name = SweepState(plan), plan.trials[0].name
    run_trial(state, folder, name)
    (trial_folder(folder, name) / "samples" / "step-00000010.png").write_bytes(b"\x89PNG\r\n\x1a\ncut off")
    MlflowTracker(uri, folder).sync(state)
    run = stored(uri)[1][name]
    assert run.data.tags["gramtune.rejected"] == "step-00000010.png"
    assert run.info.status == "FINISHED"


def test_another_process_goes_on_where_one_stopped(plan: Plan, folder: Path, uri: str) -> None:
    """A trial that restarts from a checkpoint repeats a step at another time: that must not make a second point."""
    state, name = SweepState(plan), plan.trials[0].name
    state.started(state.records[name].trial)
    evaluated(state, folder, name, make_report(0))
    evaluated(state, folder, name, make_report(10))
    MlflowTracker(uri, folder).sync(state)

    evaluated(state, folder, name, replace(make_report(10), timestamp=START + 500))
    Image.new("L", (300, 200)).save(trial_folder(folder, name) / "samples" / "step-00000010.png")
    run_trial(state, folder, plan.trials[1].name, last=Status.DIVERGED)
    evaluated(state, folder, name, make_report(20, status=Status.COMPLETED))
    resumed = MlflowTracker(uri, folder)
    for _ in range(3):
        resumed.sync(state)
    assert_exactly_once(uri, state)
    assert len(artifacts(uri, stored(uri)[1][name], "images")) == 6, "a repeated step replaces its picture"
    tags = stored(uri)[1][plan.trials[1].name].data.tags
    assert (tags["gramtune.status"], tags["gramtune.reason"]) == ("DIVERGED", "why")


def test_a_sync_without_news_writes_nothing(plan: Plan, folder: Path, uri: str) -> None:
    state = SweepState(plan)
    run_trial(state, folder, plan.trials[0].name)
    state.started(plan.trials[1])
    evaluated(state, folder, plan.trials[1].name, make_report(0))
    tracker = MlflowTracker(uri, folder)
    tracker.sync(state)
    before = fingerprint(folder.parent / ".mlflow")
    tracker.sync(state)
    MlflowTracker(uri, folder).sync(state)  # a new process asks, and finds everything
    after = fingerprint(folder.parent / ".mlflow")
    changed = {path.name for path, seen in after.items() if before.get(path) != seen}
    assert changed <= {"config.yaml"}, "a new process cannot know whether the file of an open run was complete"


def test_the_best_value_follows_replicates_that_are_added(plan: Plan, folder: Path, uri: str) -> None:
    state, name = SweepState(plan), plan.trials[0].name
    run_trial(state, folder, name, value=9.0)
    MlflowTracker(uri, folder).sync(state)
    added = replace(make_report(20, value=30.0, status=Status.COMPLETED), first=2, timestamp=START + 50)
    state.reported(name, added)
    MlflowTracker(uri, folder).sync(state)
    parent, children = stored(uri)
    assert children[name].data.metrics[METRIC] == parent.data.metrics[f"{METRIC}_best"] == 20.5
    assert history(uri, parent, f"{METRIC}_best") == [(40, 10.0), (80, 20.5)]


def fingerprint(folder: Path) -> dict[Path, str]:
    """Content of the database, and age of every artifact."""
    files = {path: str(path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
    files[folder / "mlflow.db"] = hashlib.sha256((folder / "mlflow.db").read_bytes()).hexdigest()
    assert len(files) > 5
    return files


def test_finish_closes_what_is_open_and_resuming_opens_it_again(
    plan: Plan, folder: Path, uri: str, tmp_path: Path
) -> None:
    state = SweepState(plan)
    run_trial(state, folder, plan.trials[0].name, value=9.0)
    run_trial(state, folder, plan.trials[1].name, value=5.0)
    run_trial(state, folder, plan.trials[2].name, value=1.0, last=Status.DIVERGED)
    state.ended(plan.trials[3].name, Status.FAILED, "no token=abc123 in http://me:secret@host/x")
    cut_off = plan.trials[4].name
    state.started(state.records[cut_off].trial)
    evaluated(state, folder, cut_off, make_report(0))
    (folder / "figures").mkdir()
    for file in (
        "figures/sensitivity.png",
        "results.csv",
        "results.parquet",
        "sweep.yaml",
        ".results.7.csv",
        "journal.jsonl",
    ):
        (folder / file).write_bytes(b"content")
    tracker = MlflowTracker(uri, folder)
    for _ in range(2):
        tracker.finish(state, folder)

    parent, children = stored(uri)
    assert [children[trial.name].info.status for trial in plan.trials[:5]] == [*["FINISHED"] * 3, "FAILED", "KILLED"]
    assert children[cut_off].data.tags["gramtune.status"] == "UNFINISHED"
    reason = children[plan.trials[3].name].data.tags["gramtune.reason"]
    assert reason == "no token=*** in http://host/x"
    assert parent.info.status == "KILLED"
    assert history(uri, parent, f"{METRIC}_best") == [(40, 10.0), (80, 6.0)], "a diverged trial never wins"
    assert artifacts(uri, parent) == {"figures", "plan.txt", "results.csv", "results.parquet", "sweep.yaml"}
    assert artifacts(uri, parent, "figures") == {"sensitivity.png"}
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("**Best: trial 1, gram K=2**, fid_digits 6 ± 1.414")
    assert "n = 2 replicates, 1024 samples each, step 20" in note
    assert "5 PENDING, 1 RUNNING, 2 COMPLETED, 1 DIVERGED, 1 FAILED" in note
    assert "How does the critic's output dimension K change sample quality?" in note
    assert {"mlflow.user", "gramtune.versions"} <= set(parent.data.tags)

    run_trial(state, folder, cut_off)
    MlflowTracker(uri, folder).sync(state)
    parent, children = stored(uri)
    assert (parent.info.status, children[cut_off].info.status) == ("RUNNING", "FINISHED")
    assert children[cut_off].data.tags["gramtune.status"] == "COMPLETED"


def test_a_run_that_was_made_twice_is_kept_once(plan: Plan, folder: Path, uri: str) -> None:
    """A server may carry out a request whose answer is lost; the next attempt then finds two runs of one trial."""
    state = SweepState(plan)
    run_trial(state, folder, plan.trials[0].name)
    tracker = MlflowTracker(uri, folder)
    tracker.sync(state)
    client, run = MlflowClient(tracking_uri=uri), stored(uri)[1][plan.trials[0].name]
    tags = {key: value for key, value in run.data.tags.items() if key.startswith("gramtune.") or "parent" in key}
    client.create_run(run.info.experiment_id, start_time=1, tags=tags, run_name=run.info.run_name)
    MlflowTracker(uri, folder).sync(state)
    assert stored(uri)[1][plan.trials[0].name].info.run_id == run.info.run_id
    assert_exactly_once(uri, state)


def test_a_run_that_was_deleted_is_stored_again(plan: Plan, folder: Path, uri: str) -> None:
    state, name = SweepState(plan), plan.trials[0].name
    run_trial(state, folder, plan.trials[1].name)
    state.started(state.records[name].trial)
    evaluated(state, folder, name, make_report(0))
    tracker = MlflowTracker(uri, folder)
    tracker.sync(state)
    parent, children = stored(uri)
    for run in (parent, children[name]):
        MlflowClient(tracking_uri=uri).delete_run(run.info.run_id)
    evaluated(state, folder, name, make_report(10))
    tracker.sync(state)
    assert_exactly_once(uri, state)


def test_a_rejected_value_does_not_block_the_rest(folder: Path, uri: str) -> None:
    runs = SweepRuns(uri, "0" * 32, folder.parent)
    run = runs.create("trial", "trial", 0, {})
    impossible = Point("before_1970", 1.0, -1, 0)
    runs.log(run, [Point("fid", 1.0, 1, 0), impossible], {"objective.ridge": 0.1}, {"note": "kept"})
    found = MlflowClient(tracking_uri=uri).get_run(run.run_id).data
    assert found.metrics == {"fid": 1.0}
    assert found.params == {"objective.ridge": "0.1"}
    assert (found.tags["note"], found.tags["gramtune.rejected"]) == ("kept", "before_1970")


@pytest.mark.parametrize("key", ["loss/critic θ=1", "/a//b/../c/", "ratio@0.5%", "x" * 300, "..", "fid_digits/0", "#"])
def test_mlflow_takes_every_legalised_key(key: str, folder: Path, uri: str) -> None:
    runs = SweepRuns(uri, "0" * 32, folder.parent)
    run = runs.create("trial", "trial", 0, {})
    runs.log(run, [Point(key, 1.0, 1, 0)], {key: 1})
    found = MlflowClient(tracking_uri=uri).get_run(run.run_id).data
    assert found.metrics == {legal_key(key): 1.0}
    assert found.params == {legal_key(key): "1"}
    assert "gramtune.rejected" not in found.tags


def test_the_id_moves_with_the_folder(plan: Plan, folder: Path, uri: str) -> None:
    state = SweepState(plan)
    run_trial(state, folder, plan.trials[0].name)
    MlflowTracker(uri, folder).sync(state)
    moved = folder.rename(folder.parent / "renamed")
    MlflowTracker(uri, moved).sync(state)
    assert_exactly_once(uri, state)


def test_an_absent_server_is_one_line_without_credentials(plan: Plan, folder: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        tracker = MlflowTracker(f"http://me:s3cret@{address}", folder)
        started = time.monotonic()
        with pytest.raises(TrackerUnavailable) as caught:
            tracker.sync(SweepState(plan))
    assert str(caught.value) == f"MLflow at http://{address}: connection refused"
    assert time.monotonic() - started < 5
    assert tracker.link == f"http://{address}"


def test_a_database_that_cannot_be_made_is_unavailable(plan: Plan, folder: Path) -> None:
    (folder / "file").touch()
    tracker = MlflowTracker(f"sqlite:///{folder}/file/mlflow.db", folder)
    with pytest.raises(TrackerUnavailable, match="file"):
        tracker.sync(SweepState(plan))


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_outage_and_nothing_is_lost(plan: Plan, folder: Path, uri: str) -> None:
    state = SweepState(plan)
    tracker = MlflowTracker(uri, folder)
    run_trial(state, folder, plan.trials[0].name)
    tracker.sync(state)
    for trial in plan.trials[1:4]:
        run_trial(state, folder, trial.name)
    with full_disk((folder.parent / ".mlflow" / "mlflow.db").stat().st_size):
        message = str(unavailable(tracker, state))
    assert re.fullmatch(r"MLflow at sqlite:.*mlflow.db: .*(disk is full|disk I/O error)", message)
    tracker.sync(state)
    assert_exactly_once(uri, state)


@pytest.mark.parametrize(
    "wrong", ["mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:", "ftp://me:pw@host"]
)
def test_a_uri_that_cannot_hold_a_sweep_is_bad_input(wrong: str) -> None:
    with pytest.raises(SpecError, match="--tracking-uri: ") as caught:
        checked_uri(wrong)
    assert "pw" not in str(caught.value)


def test_redact_leaves_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sl/ash%2Fed")
    monkeypatch.setenv("SOME_TOKEN", "1")
    uri = "postgresql://me:p%40ss@host/db"
    text = redact(f"{uri} failed: login p@ss of me, header t0ken, ?password=hidden&x=1", uri)
    assert redact("signed by sl/ash%2Fed, or sl/ash/ed; 11 trials") == "signed by ***, or ***; 11 trials"
    assert text == "postgresql://host/db failed: login *** of me, header ***, ?password=***&x=1"


MAKE_STORE = "import sys; from gramtune.backends.mlflow.store import ensure_store; ensure_store(sys.argv[1])"


def test_a_new_store_survives_a_kill_and_a_race(tmp_path: Path) -> None:
    """MLflow's own first use leaves a half-made database for ever, after either."""
    uri, partial = default_uri(tmp_path), tmp_path / ".mlflow" / "mlflow.db.partial"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", MAKE_STORE, uri])

    victim = start()
    wait_until(lambda: partial.is_file() and partial.stat().st_size > 0, seconds=60)
    victim.kill()
    victim.wait()
    assert not (tmp_path / ".mlflow" / "mlflow.db").exists()
    racers = [start(), start()]
    assert [racer.wait(timeout=90) for racer in racers] == [0, 0]
    assert MlflowClient(tracking_uri=uri).search_experiments()


def test_a_server_that_hangs_and_is_killed_in_the_middle(
    plan: Plan, folder: Path, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers too late, is killed while the tracker stores, comes back as `gramtune ui`: everything is there once."""
    state = SweepState(plan)
    with running_server(uri) as (base, process):
        tracker = MlflowTracker(base, folder)
        run_trial(state, folder, plan.trials[0].name)
        tracker.sync(state)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        run_trial(state, folder, plan.trials[1].name)
        os.killpg(process.pid, signal.SIGSTOP)
        assert str(unavailable(tracker, state)) == f"MLflow at {base}: no answer in time"
        os.killpg(process.pid, signal.SIGCONT)  # and the request that was given up is carried out
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        for trial in plan.trials[2:]:
            run_trial(state, folder, trial.name, value=float(trial.assignment["objective.critic_dim"]))
        errors: list[TrackerUnavailable] = []
        storing = threading.Thread(target=lambda: errors.append(unavailable(tracker, state)))
        storing.start()
        client = MlflowClient(tracking_uri=uri)
        wait_until(lambda: len(client.search_runs(["1"])) >= 4, seconds=120)
        os.killpg(process.pid, signal.SIGKILL)
        storing.join(120)
        assert len(errors) == 1
    statuses = [run.info.status for run in stored(uri)[1].values()]
    assert statuses.count("FINISHED") < len(plan.trials), "killed too late to test anything"
    unavailable(tracker, state)

    with served(uri, base.rpartition(":")[2]) as (page, ui):
        assert page.startswith(f"{base}/#/experiments/1/runs?workflowType=machine_learning")
        tracker.sync(state)
        tracker.finish(state, folder)
        assert_exactly_once(uri, state)
        assert stored(base)[0].info.status == "FINISHED"
        for run in stored(base)[1].values():
            assert (run.info.status, len(artifacts(base, run, "images"))) == ("FINISHED", 6)
            assert content(base, run, "checkpoint/trainer.pt", tmp_path) == b"weights at 20"
        assert tracker.link.startswith(f"{base}/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=")
        ui.send_signal(signal.SIGINT)
        assert ui.wait(timeout=60) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(base.rpartition(":")[2]))) != 0, "a child goes on serving"


def unavailable(tracker: MlflowTracker, state: SweepState) -> TrackerUnavailable:
    with pytest.raises(TrackerUnavailable) as caught:
        tracker.sync(state)
    return caught.value


SERVE = """
import sys, pathlib
from gramtune.backends.mlflow.server import serve
sys.exit(serve(sys.argv[1], int(sys.argv[2]), pathlib.Path("runs")))
"""


@contextmanager
def served(uri: str, port: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`gramtune ui` in a process of its own: the first line that it prints, and the process."""
    command = [sys.executable, "-u", "-c", SERVE, uri, port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.terminate()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_the_saved_view_is_what_the_interface_reads(plan: Plan, folder: Path, uri: str) -> None:
    state = SweepState(plan)
    run_trial(state, folder, plan.trials[0].name)
    for _ in range(2):
        MlflowTracker(uri, folder).sync(state)
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name("gramtune")
    view = newest_view(experiment.tags)
    assert view is not None
    assert view.name == "critic-dim"
    saved = json.loads(experiment.tags[f"mlflow.sharedViewState.{view.key}"])
    content = json.loads(zlib.decompress(base64.b64decode(saved["state"].removeprefix("deflate;"))))
    assert content["searchFilter"] == f"tags.mlflow.parentRunId = '{stored(uri)[0].info.run_id}'"
    assert (content["orderByKey"], content["orderByAsc"]) == ("metrics.`fid_digits`", True)
    assert content["selectedColumns"][:3] == [
        "metrics.`fid_digits`",
        "metrics.`fid_digits_std`",
        "params.`objective.critic_dim`",
    ]
    kinds = [chart["type"] for chart in content["compareRunCharts"]]
    assert kinds == ["PARALLEL", "LINE", "LINE", "LINE", "IMAGE"]
    titles = [chart["displayName"] for chart in content["compareRunCharts"]]
    assert titles[:2] == ["fid_digits and what was varied", "fid_digits"]
    lines = [chart for chart in content["compareRunCharts"] if chart["type"] == "LINE"]
    assert {(chart["lineSmoothness"], chart["useGlobalLineSmoothing"]) for chart in lines} == {(0, False)}
    assert content["globalLineChartConfig"]["lineSmoothness"] == 0
    assert content["compareRunCharts"][-1]["step"] == 20, "the samples open at the last step"
    address = f"#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    assert f"[critic-dim]({address}&viewStateShareKey={view.key})" in experiment.tags["mlflow.note.content"]
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert newest_view({"mlflow.note.content": "{}"}) is None


def test_a_description_of_somebody_else_is_kept(plan: Plan, folder: Path, uri: str) -> None:
    state = SweepState(plan)
    run_trial(state, folder, plan.trials[0].name)
    MlflowTracker(uri, folder).sync(state)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("gramtune").experiment_id
    client.set_experiment_tag(experiment, "mlflow.note.content", "our own words")
    MlflowTracker(uri, folder).sync(state)
    assert client.get_experiment(experiment).tags["mlflow.note.content"] == "our own words"


def test_what_people_filter_by_is_a_parameter_of_each_trial(plan: Plan, folder: Path, uri: str) -> None:
    state = SweepState(plan)
    run_trial(state, folder, plan.trials[0].name)
    MlflowTracker(uri, folder).sync(state)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("gramtune").experiment_id
    wanted = {"objective.name": "gram", "data.name": "digits", "network.name": "dcgan", "optimizer.name": "adam"}
    wanted |= {"training.steps": "20", "training.batch_size": "64", "training.replicates": "2"}
    (run,) = client.search_runs([experiment], " and ".join(f"params.`{k}` = '{v}'" for k, v in wanted.items()))
    assert run.data.params == {**wanted, "objective.critic_dim": "1"}


def test_a_sweep_that_is_stored_later_ends_when_it_ended(plan: Plan, folder: Path, uri: str) -> None:
    state = SweepState(plan)
    for trial in plan.trials:
        run_trial(state, folder, trial.name)
    MlflowTracker(uri, folder).finish(state, folder)
    parent, _ = stored(uri)
    assert (parent.info.status, parent.info.end_time) == ("FINISHED", (START + 20) * 1000)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"objective.critic_dim": 128, "optimizer.learning_rate": 1e-4}, "gram K=128 lr=1e-4"),
        ({"objective.name": "gram", "training.batch_size": 64, "objective.ridge": 0.05}, "gram B=64 ridge=0.05"),
        ({"method": "GRAM, σ mean", "optimizer.learning_rate": 0.00031622}, "GRAM, σ mean lr=3.162e-4"),
        ({"size": "small", "a.width": 4, "b.width": 8}, "gram small a.width=4 b.width=8"),
        ({"objective.bandwidths": [1, 4]}, "gram bandwidths=[1, 4]"),
        ({}, "gram"),
    ],
)
def test_a_run_has_a_name_that_a_person_reads(plan: Plan, values: dict[str, Any], expected: str) -> None:
    assert run_name(replace(plan.trials[0], assignment=values)) == expected


def test_ui_finds_the_nearest_store(tmp_path: Path, migrated: Path) -> None:
    for runs in ("project/runs", "project/old", "runs"):
        (tmp_path / runs / ".mlflow").mkdir(parents=True)
        shutil.copy(migrated, tmp_path / runs / ".mlflow")
    sweep = tmp_path / "project" / "runs" / "critic-dim" / "trials"
    sweep.mkdir(parents=True)
    project = tmp_path / "project"
    assert found_stores(project) == [project / "runs", project / "old", tmp_path / "runs"]
    assert found_stores(project / "old") == [project / "old", project / "runs", tmp_path / "runs"]
    assert found_stores(sweep) == [project / "runs", tmp_path / "runs"]
