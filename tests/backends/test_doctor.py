"""Each finding states a remedy, and a healthy machine has no finding."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from gramtune.run.inspection import Machine, clock, inspect, mps_runs, node_checks

HERE = Machine(
    "driver", 8, 8 << 30, None, ("L4",), False, {"python": "3.11.7", "ray": "2.60.0"}, "abc", ("cifar-10-batches-py/",)
)


def issues(machine, promised=1.0):
    return {f.subject: f for f in node_checks("10.0.0.2", machine, HERE, promised) if f.remedy}


def test_an_equal_node_has_no_issue_and_every_check_is_reported():
    assert issues(HERE) == {}
    assert [f.subject for f in node_checks("10.0.0.2", HERE, HERE, 1)] == ["limits", "versions", "gpu", "data"]


@pytest.mark.parametrize(
    ("change", "promised", "subject", "text"),
    [
        ({"versions": {"python": "3.11.7", "ray": "2.59.0"}}, 1, "versions", "ray 2.59.0, on the driver 2.60.0"),
        ({"versions": {"python": "3.11.7"}}, 1, "versions", "ray missing, on the driver 2.60.0"),
        ({"code": "abd"}, 1, "code", "gramtune's modules differ"),
        ({"gpus": ()}, 1, "gpu", "Ray promises 1, torch sees 0"),
        ({}, 0, "gpu", "torch sees 1 (L4), Ray offers 0"),
        ({"data": ("celeba/",)}, 1, "data", "misses cifar-10-batches-py/ of the driver's data folder"),
    ],
)
def test_what_is_wrong_is_found(change, promised, subject, text):
    found = issues(replace(HERE, **change), promised)
    assert list(found) == [subject]
    assert text in found[subject].text


def test_a_clock_is_read_between_two_readings_of_the_driver():
    assert not clock("n", 100, 100.5, 101).remedy
    assert not clock("n", 100, 130, 160).remedy  # a slow answer says nothing
    assert clock("n", 100, 193, 101).text == "92 s ahead of the driver's"
    assert clock("n", 100, 40, 101).text == "60 s behind the driver's"
    assert clock("n", 100, 40, 101).remedy


def test_this_machine_is_inspected(tmp_path, monkeypatch):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "weights.pth").write_bytes(b"123")
    machine = inspect(str(tmp_path))
    assert machine.data == ("mnist/", "weights.pth (3 bytes)")
    assert machine.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert machine.versions["torch"]
    assert len(machine.code) == 64
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not mps_runs()
    (tmp_path / "control").touch()
    assert mps_runs()


def test_the_command_exits_with_1_where_something_is_wrong(tmp_path):
    def doctor(*words):
        command = [sys.executable, "-m", "gramtune.cli.main", "doctor", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ, timeout=300)

    done = doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == 5
    done = doctor("--tracking-uri", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "FAULT  driver           tracking" in done.stdout
    assert "→ start the server" in done.stdout
    assert done.stdout.endswith("1 issue\n")
