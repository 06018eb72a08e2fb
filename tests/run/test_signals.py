"""SIGTERM, SIGHUP and Ctrl-C end a sweep cleanly; the suite starts its children with the default handlers."""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from ray_nodes import wait_until
from sweeps import marked_processes, write_space

from gramtune.run.interruption import Interruption, listening

CHILD = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
SESSION = f"""
import subprocess, sys
sys.path[:0] = sys.argv[1:]
import conftest
conftest.pytest_configure()
subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)
"""


def test_a_child_hears_sigint_when_pytest_was_started_in_the_background():
    """Python installs its handler only if SIGINT is not ignored at the start."""
    ignored = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", SESSION, str(tests), str(tests / "helpers")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=ignored)
    assert done.stdout == "True\n"


COMMAND = [sys.executable, "-m", "gramtune.cli.main"]
LONG = ("--set=training.steps=1000000", "--set=training.eval_every=50", "--max-concurrent=2")


def patience():
    """How much longer than on an idle machine things may take on this one."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Running:
    """A sweep that has reported; its processes are known by a mark in their environment."""

    def __init__(self, folder, *options, reports=3, **popen):
        write_space(folder)
        self.folder, self.mark = folder / "runs" / "axis", f"GRAMTUNE_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        env = {**os.environ, name: value}
        popen = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **popen}
        command = [*COMMAND, "sweep", "axis.yaml", *LONG, *options]
        self.process = subprocess.Popen(command, cwd=folder, env=env, start_new_session=True, **popen)
        journal, deadline = self.folder / "journal.jsonl", time.monotonic() + 300
        while not journal.exists() or journal.read_text().count('"step"') < reports:
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            assert time.monotonic() < deadline, "no report within five minutes"
            time.sleep(0.05)

    def end(self):
        for pid in marked_processes(self.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(*arguments, **options):
    sweep = Running(*arguments, **options)
    try:
        yield sweep
    finally:
        sweep.end()


@pytest.mark.parametrize(
    ("name", "runner"),
    [
        ("SIGTERM", []),
        pytest.param("SIGHUP", [], marks=pytest.mark.slow),
        pytest.param("SIGINT", [], marks=pytest.mark.slow),
        pytest.param("SIGTERM", ["--debug"], marks=pytest.mark.slow),
        ("SIGHUP", ["--debug"]),
        ("SIGINT", ["--debug"]),
    ],
)
def test_a_signal_ends_a_sweep_with_tables_a_hint_and_no_process_left(name, runner, tmp_path):
    """SIGTERM and SIGHUP ended it without tables; after SIGHUP, Ray's workers went on."""
    with running(tmp_path, *runner) as sweep:
        sent = time.monotonic()
        sweep.process.send_signal(signal.Signals[name])
        lines = []
        for line in sweep.process.stdout:
            lines.append(line)
            if "the sweep ends; writing its tables" in line:
                answered = time.monotonic() - sent
        assert sweep.process.wait() == 130, "".join(lines)
        ended = time.monotonic() - sent
        output = "".join(lines)
        assert answered < 1 * patience()
        if name != "SIGINT":  # which a person sends, who can wait for the figures
            assert ended < 10 * patience()
        assert f"{'Ctrl-C' if name == 'SIGINT' else name}: the sweep ends; writing its tables" in output
        assert "interrupted with 3 trials unfinished; resume with: gramtune resume runs/axis" in output
        assert "Traceback" not in output
        assert "*** SIG" not in output
        table = pd.read_parquet(sweep.folder / "results.parquet")
        assert set(table["trial"]) <= {"critic_dim=1", "critic_dim=4"}
        assert len(table) >= 4
        assert set(pd.read_parquet(sweep.folder / "trials.parquet")["status"]) <= {"RUNNING", "PENDING"}
        wait_until(lambda: not marked_processes(sweep.mark), 5 * patience())
        assert (sweep.folder / "report.html").exists() == (name == "SIGINT")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_every_process_of_a_sweep_fails_no_trial(name, tmp_path):
    """What scancel, systemd and a closed terminal do: Ray's own processes get it at the same moment."""
    with running(tmp_path) as sweep:
        for pid in marked_processes(sweep.mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.Signals[name])
        output, _ = sweep.process.communicate(timeout=60 * patience())
        assert sweep.process.returncode == 130, output
        assert "gramtune resume runs/axis" in output
        assert set(pd.read_parquet(sweep.folder / "trials.parquet")["status"]) <= {"RUNNING", "PENDING"}
        wait_until(lambda: not marked_processes(sweep.mark), 5 * patience())


def test_nohup_keeps_a_sweep_from_hearing_sighup(tmp_path):
    ignored = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    with running(tmp_path, "--debug", preexec_fn=ignored) as sweep:
        sweep.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert sweep.process.poll() is None
        sweep.process.send_signal(signal.SIGTERM)
        output, _ = sweep.process.communicate(timeout=60 * patience())
        assert "SIGTERM: the sweep ends; writing its tables" in output
        assert "SIGHUP" not in output


def test_a_second_ctrl_c_raises_and_other_signals_do_not():
    interruption = Interruption()
    interruption.hear(signal.SIGTERM)
    interruption.hear(signal.SIGHUP)
    interruption.hear(signal.SIGINT)  # at once: the same keystroke
    assert interruption.hurried
    time.sleep(0.6)
    with pytest.raises(KeyboardInterrupt):
        interruption.hear(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruption.open():
        pytest.fail("a block that may be ended was begun after the signal")


def test_the_handlers_of_others_are_back_after_a_sweep():
    def theirs(number, frame):
        return None

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with listening(print):
            assert signal.getsignal(signal.SIGTERM) is not theirs
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)
