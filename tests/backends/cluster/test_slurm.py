"""Runs the batch script of cluster/slurm.yaml."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ray_nodes import wait_until
from slurm_stand_in import write_commands
from sweeps import write_space
from undisturbed import assert_undisturbed, events, reports

SETTINGS = ("training.steps=500", "training.eval_every=20")
WORDS = [word for setting in SETTINGS for word in ("--set", setting)]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def slurm(tmp_path):
    """Slurm's file with its owner's values, and gramtune on a login node."""
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder:  # short: Ray puts unix sockets below it
        write_commands(tmp_path / "bin")
        owner = {"YOUR_SHARED_FOLDER": str(tmp_path / "shared"), "YOUR_PARTITION": "short"}
        text = (ROOT / "cluster" / "slurm.yaml").read_text()
        text = re.sub(r"  - source YOUR_ENVIRONMENT.*", f"  - export PATH={Path(sys.executable).parent}:$PATH", text)
        text = re.sub(r"YOUR_[A-Z_]*[A-Z]", lambda match: owner[match[0]], text)
        text = text.replace("nodes: 4", "nodes: 2").replace("cpus-per-task: 8", "cpus-per-task: 1")
        (tmp_path / "slurm.yaml").write_text(text)
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "RAY_TMPDIR": folder, "PYTHONPATH": str(ROOT)}
        env.pop("RAY_ADDRESS", None)

        def gramtune(*words, background=False):
            command = [sys.executable, "-m", "gramtune.cli.main", *map(str, words)]
            start = {"cwd": tmp_path, "env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            if background:
                return subprocess.Popen(command, **start)
            done = subprocess.run(command, timeout=300, **start)
            return done.returncode, done.stdout

        yield gramtune
        gramtune("down", "slurm.yaml")


@pytest.mark.slow
def test_a_batch_job_is_stopped_and_submitted_again_and_ends_with_the_sweep(slurm, tmp_path):
    space, folder = write_space(tmp_path), tmp_path / "shared" / "runs" / "axis"
    client = slurm("launch", "slurm.yaml", "axis.yaml", *WORDS, background=True)
    wait_until(lambda: len(reports(folder)) >= 2 or client.poll() is not None)
    client.send_signal(signal.SIGINT)
    output = client.communicate(timeout=60)[0]
    assert client.returncode == 130, output
    assert "gramtune attach slurm.yaml axis" in output
    assert slurm("launch", "slurm.yaml", "axis.yaml")[0] == 1  # its folder is there: not begun anew
    code, output = slurm("stop", "slurm.yaml")
    assert code == 0, output
    code, output = slurm("attach", "slurm.yaml")
    assert code == 130, output
    assert "resume with: gramtune resume" in output
    code, output = slurm("launch", "slurm.yaml", "axis.yaml", *WORDS, "--resume")
    assert code == 0, output
    assert sum(event.get("status") == "COMPLETED" for event in events(folder)) == 3
    assert_undisturbed(folder, space, SETTINGS)
