"""A sweep on a cluster through Ray's Jobs API, from a client that disconnects and reconnects."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
from ray_nodes import wait_until
from sweeps import marked_processes, write_space

from gramtune import load_sweep, run_sweep
from gramtune.backends.cluster.jobs import LogPrinter, tail
from gramtune.backends.cluster.shell import free_port
from gramtune.space.load import Overrides

COMMAND = [sys.executable, "-m", "gramtune.cli.main"]
SETTINGS = ("training.steps=300", "training.eval_every=20")
WORDS = [word for setting in SETTINGS for word in ("--set", setting)]


def results(folder):
    frame = pd.read_parquet(folder / "results.parquet")
    return frame.sort_values(["trial", "replicate", "step", "metric"], ignore_index=True)


@pytest.fixture
def local(tmp_path):
    """A cluster file of this machine with ports of its own; what it starts is ended."""
    work = tmp_path / "work"
    work.mkdir()
    write_space(work)
    short = tmp_path.parent.parent / f"j{os.getpid()}"  # Ray puts unix sockets below it
    short.mkdir(exist_ok=True)
    ports = {"port": free_port(), "dashboard_port": free_port()}
    text = "target: local\nnum_cpus: 2\n" + "".join(f"{key}: {value}\n" for key, value in ports.items())
    (work / "local.yaml").write_text(text)
    env = {**os.environ, "RAY_TMPDIR": str(short), "HOME": str(tmp_path)}
    env.pop("RAY_AUTH_MODE", None)
    env["RAY_raylet_start_wait_time_s"] = "240"  # the machine may be busy

    def gramtune(*words, background=False):
        start = {"cwd": work, "env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        if background:
            return subprocess.Popen([*COMMAND, *words], **start)
        done = subprocess.run([*COMMAND, *words], timeout=600, **start)
        return done.returncode, done.stdout

    yield work, ports["dashboard_port"], env, gramtune
    gramtune("down", "local.yaml")


@contextmanager
def relay(target):
    """A port that passes bytes on to another; `cut()` breaks all connections, `dead` refuses new ones."""

    class Relay:
        dead = False
        pairs = ()

        def cut(self):
            for pair in self.pairs:
                for one in pair:
                    with suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)  # closing alone would leave the threads that read waiting
                    one.close()
            self.pairs = ()

    state, server = Relay(), socket.create_server(("127.0.0.1", 0))
    state.port = server.getsockname()[1]

    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def serve():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            if state.dead:
                client.close()
                continue
            there = socket.create_connection(("127.0.0.1", target))
            state.pairs = (*state.pairs, (client, there))
            for ends in ((client, there), (there, client)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield state
    server.close()
    state.cut()


@pytest.mark.slow
def test_a_launched_sweep_outlives_its_client_and_is_stopped_and_resumed(local):
    work, dashboard, environment, gramtune = local
    journal = work / "runs" / "axis" / "journal.jsonl"

    def reports():
        return journal.read_text().count('"step"') if journal.exists() else 0

    client = gramtune("launch", "local.yaml", "axis.yaml", *WORDS, background=True)
    wait_until(lambda: reports() >= 3 or client.poll() is not None, 900)
    client.send_signal(signal.SIGKILL)
    output = client.communicate()[0]
    job = re.search(r"^job (axis-\w+);", output, re.M)
    assert job, output
    before = reports()
    wait_until(lambda: reports() > before)  # nobody is connected, and it goes on

    code, output = gramtune("stop", "local.yaml")
    assert code == 0, output
    assert "--resume" in output
    code, output = gramtune("attach", "local.yaml", job[1])
    assert code == 130, output
    assert "resume with: gramtune resume" in output  # the sweep itself was interrupted, not killed
    assert (work / "runs" / "axis" / "results.parquet").exists()

    (work / "there.yaml").write_text("target: existing\ndashboard: http://127.0.0.1:PORT\n")
    with relay(dashboard) as line:
        there = (work / "there.yaml").read_text().replace("PORT", str(line.port))
        (work / "there.yaml").write_text(there)
        environment["RAY_AUTH_MODE"] = "token"  # of the local head; an existing one's owner has to say so
        words = ("launch", "there.yaml", "axis.yaml", *WORDS, "--resume", "--runs", str(work / "runs"))
        client = gramtune(*words, background=True)
        before = reports()
        wait_until(lambda: reports() > before + 2 or client.poll() is not None)
        line.dead = True
        line.cut()
        time.sleep(8)
        line.dead = False
        output = client.communicate(timeout=400)[0]
    assert client.returncode == 0, output
    assert output.count("connection lost") == 1
    assert output.count("connected again") == 1
    steps = re.findall(r"^ *[\d:]+  (\S+)  step (\d+)/300 ", output, re.M)
    assert steps
    assert len(steps) == len(set(steps))  # no line twice, though the log was sent again

    run_sweep(load_sweep(work / "axis.yaml", Overrides(set=SETTINGS)), work / "undisturbed", debug=True)
    expected = results(work / "undisturbed" / "axis")
    pd.testing.assert_frame_equal(results(work / "runs" / "axis"), expected, check_exact=True)

    code, output = gramtune("attach", "local.yaml", "axis-unknown")
    assert code == 1
    assert "no job axis-unknown" in output
    assert len(output.splitlines()) == 1
    assert gramtune("down", "local.yaml") == (0, "")
    code, output = gramtune("attach", "local.yaml")
    assert code == 1
    assert output.startswith("local.yaml: no Jobs API at http://127.0.0.1:")


@pytest.mark.slow
def test_two_shipped_spaces_run_on_the_local_cluster_and_nothing_is_left_of_a_killed_head(local):
    """They ask for a share of a GPU, which this cluster does not have."""
    work, _, env, gramtune = local
    short = ("--set", "training.steps=20", "--set", "training.eval_every=10", "--set", "training.eval_samples=100")
    for name in ("critic_dim", "learning_rate"):
        runs = ("--runs", str(work / "runs"), "--replicates", "2", "--name", name)
        code, output = gramtune("launch", "local.yaml", name, *short, *runs)
        assert code == 0, output
        frame = pd.read_parquet(work / "runs" / name / "trials.parquet")
        assert set(frame["status"]) <= {"COMPLETED", "DIVERGED", "PRUNED"}
        assert (frame["status"] == "COMPLETED").any()
    mark = f"RAY_TMPDIR={env['RAY_TMPDIR']}"
    heads = [pid for pid in marked_processes(mark) if b"gcs_server" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert heads
    for pid in heads:
        os.kill(pid, signal.SIGKILL)
    code, output = gramtune("down", "local.yaml")
    assert code == 0 or "started no Ray head" in output  # Ray may have ended the rest by itself already
    wait_until(lambda: not marked_processes(mark), 60)
    assert not list(Path(env["RAY_TMPDIR"]).rglob("ray_current_cluster"))


def test_a_silent_connection_is_abandoned(capsys):
    """As when a laptop changes networks: nobody closes the connection. The state is asked for over a new one."""

    class Silent:
        async def tail_job_logs(self, job):
            yield "first\n"
            await asyncio.sleep(3600)

    asyncio.run(tail(Silent(), "job", LogPrinter(), silence=0.05))
    assert capsys.readouterr().out == "first\n"


def test_a_log_that_is_sent_again_is_printed_once(capsys):
    printer = LogPrinter()
    for connection in (["a", "b\n"], ["ab", "\nc"], ["ab\ncd\n"]):
        printer.begin()
        for text in connection:
            printer(text)
    assert capsys.readouterr().out == "ab\ncd\n"
