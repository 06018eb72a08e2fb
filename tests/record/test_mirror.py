"""A sweep whose folder is in an object store, and several machines that work on it."""

import json
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from ray_nodes import wait_until
from sweeps import SPACE, write_space
from typer.testing import CliRunner

from gramtune import resume_sweep, run_sweep
from gramtune.cli.main import app
from gramtune.errors import SpecError
from gramtune.io import local_runs
from gramtune.record.object_store import Mirror, StoreLost, store_of


def results(folder):
    frame = pd.read_parquet(folder / "results.parquet")
    return frame.sort_values(["trial", "replicate", "step", "metric"], ignore_index=True)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Becomes another machine, with nothing on it."""

    def change(name):
        monkeypatch.setenv("GRAMTUNE_SCRATCH", str(tmp_path / name))

    change("first")
    return change


@pytest.fixture
def store(tmp_path):
    """A store by URI, and its content as files: pyarrow's own file system, so that it can be looked into."""
    return f"file://{tmp_path / 'store'}", tmp_path / "store"


class Interrupted(Exception):
    """As when the head is lost: nothing is tidied up."""


def interrupted_after(n):
    """A `watch` under which the sweep ends with its n-th report."""

    @contextmanager
    def watch(state):
        reported, count = state.reported, []

        def counting(name, report):
            reported(name, report)
            count.append(report)
            if len(count) == n:
                raise Interrupted

        state.reported = counting
        yield

    return watch


def test_a_sweep_goes_on_from_the_store_on_another_machine(tmp_path, machine, store):
    uri, files = store
    space = write_space(tmp_path)
    plain = run_sweep(space, tmp_path / "plain", debug=True)
    with pytest.raises(Interrupted):
        run_sweep(space, uri, debug=True, watch=interrupted_after(4))
    assert not (files / "axis" / "results.parquet").exists()

    machine("second")
    said = []
    result = resume_sweep(f"{uri}/axis", debug=True, say=said.append)
    assert result.complete
    assert str(tmp_path / "second") in str(result.folder)
    pd.testing.assert_frame_equal(results(result.folder), results(plain.folder), check_exact=True)
    pd.testing.assert_frame_equal(results(files / "axis"), results(plain.folder), check_exact=True)
    events = [json.loads(line) for line in (files / "axis" / "journal.jsonl").read_text().splitlines()]
    events += [json.loads(path.read_text()) for path in sorted((files / "axis" / "journal.d").iterdir())]
    assert events == [json.loads(line) for line in (result.folder / "journal.jsonl").read_text().splitlines()]
    begun = [event["trial"] for event in events if event.get("status") == "RUNNING" and "step" not in event]
    assert [begun.count(trial) for trial in dict.fromkeys(begun)] == [1, 2, 1]  # the first was finished before
    for trial in {event["trial"] for event in events if "trial" in event}:
        names = {path.name for path in (files / "axis" / "trials" / trial).glob("checkpoint-*.pt")}
        assert names == {"checkpoint-00000003.pt", "checkpoint-00000006.pt"}  # no older one is left


def test_the_same_under_ray_and_on_the_command_line(tmp_path, machine, store):
    uri, files = store
    space = write_space(tmp_path)
    done = CliRunner().invoke(app, ["sweep", str(space), "--runs", uri])
    assert done.exit_code == 0, done.output
    for name in ("report.html", "results.csv", "trials.csv", "sweep.yaml", "summary.txt"):
        assert (files / "axis" / name).exists(), name
    assert f"→ {uri}/axis" in done.output
    machine("second")
    done = CliRunner().invoke(app, ["resume", f"{uri}/axis", "--replicates", "3", "--debug"])
    assert done.exit_code == 0, done.output
    assert set(results(files / "axis")["replicate"]) == {0, 1, 2}
    machine("third")
    exported = tmp_path / "exported.csv"
    done = CliRunner().invoke(app, ["export", f"{uri}/axis", "--format", "csv", "--output", str(exported)])
    assert done.exit_code == 0, done.output
    assert exported.stat().st_size


def test_a_store_that_is_lost_halts_the_sweep_and_nothing_is_lost(tmp_path, machine, store):
    uri, files = store
    space, said = write_space(tmp_path), []

    @contextmanager
    def losing(state):
        reported, count = state.reported, []

        def counting(name, report):
            reported(name, report)
            count.append(report)
            if len(count) == 3:  # a file in its place: root may write to any folder
                files.rename(tmp_path / "elsewhere")
                files.write_text("")

        state.reported = counting
        yield

    result = run_sweep(space, uri, debug=True, watch=losing, say=said.append)
    assert not result.complete
    assert result.problem.startswith(f"{uri}/axis cannot be read or written: ")
    files.unlink()
    (tmp_path / "elsewhere").rename(files)
    assert resume_sweep(f"{uri}/axis", debug=True).complete
    plain = run_sweep(space, tmp_path / "plain", debug=True)
    pd.testing.assert_frame_equal(results(files / "axis"), results(plain.folder), check_exact=True)


def test_unsupported_features_are_one_line(tmp_path, machine, store):
    uri, files = store
    rates = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "optimizer.learning_rate: {grid: [1, 2, 3, 4]}")
    space = write_space(tmp_path, rates + "scheduler: {name: pbt, interval: 3}\n")
    with pytest.raises(SpecError, match="needs a folder that all nodes share, not an object store"):
        run_sweep(space, uri, debug=True)
    assert not (files / "axis").exists()
    for wrong, why in (("nosuch://bucket/runs", "cannot be read or written"), ("s3://", "names no bucket")):
        words = ["sweep", str(write_space(tmp_path)), "--runs", wrong, "--debug"]
        done = subprocess.run(
            [sys.executable, "-m", "gramtune.cli.main", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert why in done.stderr


def test_only_what_is_new_is_copied(tmp_path, machine, store):
    uri, files = store
    one = store_of(local_runs(uri) / "axis")
    here = local_runs(uri) / "axis" / "trials" / "a"
    here.mkdir(parents=True)
    (here / "checkpoint-00000001.pt").write_text("one")
    one.push()
    before = (files / "axis/trials/a/checkpoint-00000001.pt").stat().st_ino, _time(files)
    one.push()
    one.pull()
    assert before == ((files / "axis/trials/a/checkpoint-00000001.pt").stat().st_ino, _time(files))
    machine("second")
    there = local_runs(uri) / "axis"
    store_of(there).pull("trials/a")
    assert (there / "trials/a/checkpoint-00000001.pt").read_text() == "one"
    (there / "trials/a/checkpoint-00000001.pt").unlink()
    (there / "trials/a/checkpoint-00000002.pt").write_text("two")
    store_of(there).push("trials/a")
    assert [path.name for path in (files / "axis/trials/a").iterdir()] == ["checkpoint-00000002.pt"]


def _time(files):
    return (files / "axis/trials/a/checkpoint-00000001.pt").stat().st_mtime_ns


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """A server of S3's protocol with an empty bucket; its URI, as pyarrow takes it."""
    pytest.importorskip("moto", reason='needs pip install "moto[server]"')
    boto3 = pytest.importorskip("boto3")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    for name, value in {"ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "secret", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        yield f"s3://bucket/runs?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_s3(tmp_path, machine, s3):
    """pyarrow's own S3 client against a server on this machine: a sweep on Ray is interrupted and goes on elsewhere."""
    space = write_space(tmp_path)
    plain = run_sweep(space, tmp_path / "plain", debug=True)
    with pytest.raises(Interrupted):
        run_sweep(space, s3, debug=True, watch=interrupted_after(4))
    machine("second")
    query = s3.partition("?")[2]
    result = resume_sweep(s3.replace("/runs?", "/runs/axis?"))
    assert result.complete
    pd.testing.assert_frame_equal(results(result.folder), results(plain.folder), check_exact=True)
    machine("third")
    there = local_runs(s3) / "axis"
    store_of(there).pull()
    pd.testing.assert_frame_equal(results(there), results(plain.folder), check_exact=True)
    with pytest.raises(StoreLost, match="s3://absent/axis cannot be read or written"):
        Mirror(f"s3://absent?{query}", Path("axis")).write("a", "b")
