"""Stores that fail during a real sweep: it continues, prints one line, and everything is stored exactly once."""

from __future__ import annotations

import http.server
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import postgres
import pytest
from stores import artifacts, assert_exactly_once, in_order, replicate_values, stored
from sweeps import SPACE, write_space

from gramtune.api import run_sweep
from gramtune.backends.mlflow.server import running_server
from gramtune.backends.mlflow.store import default_uri
from gramtune.backends.mlflow.tracker import MlflowTracker
from gramtune.io import data_root
from gramtune.record.state import SweepState
from gramtune.record.tracker import TrackerThread, TrackerUnavailable
from gramtune.run.run_directory import recorded_state
from gramtune.space.load import load_sweep
from gramtune.space.plan import Plan, make_plan

needs_postgres = pytest.mark.skipif(postgres.binaries() is None, reason="PostgreSQL's initdb is not installed")
METRICS = ["fid_digits"]


@pytest.fixture
def runs(tmp_path: Path, migrated: Path) -> Path:
    """A folder of sweeps with an embedded store and a small space."""
    runs = tmp_path / "runs"
    (runs / ".mlflow").mkdir(parents=True)
    shutil.copy(migrated, runs / ".mlflow")
    write_space(runs)
    return runs


def axis_plan(runs: Path) -> Plan:
    return make_plan(load_sweep(runs / "axis.yaml"), data_root())


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that gives the same answer to everything; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_store_that_never_answers_holds_nothing_up(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and is silent; later the sweep is brought to another store, whole."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = run_sweep(runs / "axis.yaml", runs, debug=True, tracking_uri=address, say=said.append)
    assert result.complete
    tracking = [line for line in said if line.startswith("tracking: ")]
    assert tracking == [
        f"tracking: MLflow at {address}: no answer in time; training continues; results are kept and sent later",
        f"tracking: MLflow at {address}: no answer in time; nothing is lost, "
        f"finish with: gramtune sync {result.folder} --tracking-uri {address}",
    ]
    uri = default_uri(runs)
    for _ in range(2):
        state = recorded_state(result.folder)
        MlflowTracker(uri, result.folder).finish(state, result.folder)
        assert_exactly_once(uri, state)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, b"no", "it refuses these credentials (MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN)"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "these credentials may not write there"),
        (200, b"<html>please log in</html>", "API request to endpoint was successful but the response body was not"),
        (200, b"{}", "the server there is not MLflow"),
        (500, b"", "API request to"),
    ],
)
def test_a_server_that_refuses_is_one_line(status: int, body: bytes, reason: str, runs: Path) -> None:
    with answering(status, body) as address:
        state = SweepState(axis_plan(runs))
        with pytest.raises(TrackerUnavailable) as caught:
            MlflowTracker(f"http://me:s3cret@{address}", runs / "axis").sync(state)
    assert str(caught.value).startswith(f"MLflow at http://{address}: {reason}")
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


class Stubborn:
    """A tracker that fails a few times, and can be made to hang at the end."""

    link = "nowhere"
    remedy = "gramtune sync runs/axis"
    stored = 0

    def __init__(self, failures: int) -> None:
        self.failures, self.synced, self.finished = failures, threading.Event(), threading.Event()
        self.hold = threading.Event()
        self.hold.set()

    def sync(self, state: SweepState, rest: Callable[[], None]) -> None:
        if self.failures:
            self.failures -= 1
            raise TrackerUnavailable("down")
        rest()
        self.synced.set()

    def settle(self, state: SweepState) -> None:
        self.hold.wait()

    def finish(self, state: SweepState, folder: Path) -> None:
        self.settle(state)
        self.finished.set()


def test_an_outage_is_said_once_and_so_is_its_end(runs: Path) -> None:
    said: list[str] = []
    tracker = Stubborn(failures=5)
    thread = TrackerThread(tracker, SweepState(axis_plan(runs)), said.append, every=0.01)
    assert tracker.synced.wait(30)
    assert thread.close(runs)
    assert tracker.finished.is_set()
    assert said == [
        "tracking: down; training continues; results are kept and sent later",
        "tracking: working again; everything so far is stored",
    ]


def test_a_store_that_hangs_at_the_end_is_left(runs: Path) -> None:
    """The end of a sweep waited for ever on a server that answers, but slowly."""
    said: list[str] = []
    tracker = Stubborn(failures=0)
    tracker.hold.clear()
    thread = TrackerThread(tracker, SweepState(axis_plan(runs)), said.append, every=0.01)
    assert not thread.close(runs, timeout=0.1)
    assert said == ["tracking: nothing was stored for 0 s; nothing is lost, finish with: gramtune sync runs/axis"]
    tracker.hold.set()


def test_a_store_that_fails_at_the_end_is_not_waited_for(runs: Path) -> None:
    """Figures and hint came two minutes after the end of training."""

    class Down(Stubborn):
        def settle(self, state: SweepState) -> None:
            raise TrackerUnavailable("down")

    said: list[str] = []
    thread = TrackerThread(Down(failures=0), SweepState(axis_plan(runs)), said.append, every=0.01)
    started = time.monotonic()
    assert not thread.settle()
    assert not thread.close(runs)
    assert time.monotonic() - started < 60
    assert said == ["tracking: down; nothing is lost, finish with: gramtune sync runs/axis"]


def test_a_slow_store_that_makes_progress_is_waited_for(runs: Path) -> None:
    """Thousands of trials may be left to store when the last of them has trained."""

    class Slow(Stubborn):
        def finish(self, state: SweepState, folder: Path) -> None:
            for self.stored in range(20):
                time.sleep(0.05)
            self.finished.set()

    tracker, said = Slow(failures=0), []
    thread = TrackerThread(tracker, SweepState(axis_plan(runs)), said.append, every=0.01)
    assert thread.close(runs, timeout=0.3)
    assert tracker.finished.is_set()
    assert said == []


@needs_postgres
def test_postgres_has_everything_once_and_no_secret(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure whose text holds credentials, a password in the URI, a token in the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken-of-mine")
    said: list[str] = []
    with postgres.cluster() as uri:
        result = run_sweep(runs / "axis.yaml", runs, debug=True, tracking_uri=uri, say=said.append)
        assert result.complete
        leaky = f"t0ken-of-mine was refused by {uri}"
        result.state.ended(result.state.plan.trials[0].name, result.state.records["critic_dim=1"].status, leaky)
        for _ in range(2):
            MlflowTracker(uri, result.folder, "gram").finish(result.state, result.folder)
        assert_exactly_once(uri, result.state)
        table = pd.read_parquet(result.folder / "results.parquet")
        pd.testing.assert_frame_equal(replicate_values(uri, METRICS), in_order(table), check_exact=True)
        texts = [*said, everything_in(uri)]
    texts += [file.read_bytes().decode("latin-1") for file in runs.rglob("*") if file.is_file()]
    assert len(texts) > 50
    for secret in (postgres.PASSWORD, postgres.PASSWORD.replace("%40", "@"), "t0ken-of-mine"):
        assert not [text[:100] for text in texts if secret in text]


def everything_in(uri: str) -> str:
    """Every value of every row of the database."""
    from sqlalchemy import MetaData, create_engine, select

    engine, tables = create_engine(uri), MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        rows = [str(row) for table in tables.sorted_tables for row in connection.execute(select(table))]
    engine.dispose()
    assert len(rows) > 100
    return "\n".join(rows)


ENDLESS = SPACE.replace("grid: [1, 4, 16]", "int: [1, 64]") + "search: {name: random, samples: 100000}\n"
"""Goes on until it is interrupted."""
COMMAND = [sys.executable, "-m", "gramtune.cli.main"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def test_a_server_killed_three_times_in_one_sweep_loses_nothing(kind: str, runs: Path) -> None:
    """`gramtune sweep` on a real server that dies at random, is interrupted, and brought up to date by `sync`."""
    write_space(runs, ENDLESS)
    folder = runs / "axis"
    with postgres.cluster() if kind == "postgresql" else embedded(runs) as uri:
        output, base_port = sweep_with_kills(uri, runs, folder)
        assert "training continues; results are kept and sent later" in output
        with running_server(uri, base_port, runs) as (base, _):
            subprocess.run([*COMMAND, "sync", str(folder), "--tracking-uri", base], check=True)
            state = recorded_state(folder)
            assert_exactly_once(base, state)
            table = pd.read_parquet(folder / "results.parquet")
            print(f"{kind}: {len(state.records)} trials, {len(table)} values")
            pd.testing.assert_frame_equal(replicate_values(base, METRICS), in_order(table), check_exact=True)
            for name, run in stored(base)[1].items():
                record = state.records[name]
                assert run.info.status == ("FINISHED" if record.status.final else "KILLED")
                pictures = [file for file in artifacts(base, run, "images") if file.endswith(".png")]
                assert len(pictures) == len(record.reports)


def sweep_with_kills(uri: str, runs: Path, folder: Path) -> tuple[str, int]:
    """What an interrupted sweep printed whose server was killed three times at random, and the server's port."""
    rng, port = random.Random(0), 0
    with ExitStack() as stack:
        for kill in range(3):
            with running_server(uri, port, runs) as (base, server):
                if kill == 0:
                    port = int(base.rpartition(":")[2])
                    sweep = stack.enter_context(sweeping(runs, base))
                    wait_for_journal(folder / "journal.jsonl", lines=20)
                time.sleep(rng.uniform(0, 10))
                os.killpg(server.pid, signal.SIGKILL)
            time.sleep(rng.uniform(0, 5))
        with running_server(uri, port, runs):
            time.sleep(5)
            assert sweep.poll() is None, "the sweep ended before the third kill"
            sweep.send_signal(signal.SIGINT)
            output, _ = sweep.communicate(timeout=600)
    assert sweep.returncode == 130
    return output, port


@contextmanager
def sweeping(runs: Path, tracking_uri: str) -> Iterator[subprocess.Popen[str]]:
    """`gramtune sweep` in a process of its own, which does not outlive the block."""
    settings = "--set=training.steps=200", "--set=training.eval_every=20", "--set=training.eval_samples=200"
    options = ["--debug", "--runs", str(runs), "--tracking-uri", tracking_uri]
    command = [*COMMAND, "sweep", str(runs / "axis.yaml"), *settings, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def embedded(runs: Path) -> Iterator[str]:
    yield default_uri(runs)


def wait_for_journal(file: Path, lines: int) -> None:
    wait_until(lambda: file.is_file() and file.read_text(encoding="utf-8").count("\n") >= lines)


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    for _ in range(int(seconds / 0.1)):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited in vain")
