"""The real `ray up`, `ray dashboard` and `ray down` on cluster/onprem.yaml, over SSH."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import ssh_machines
from ray_nodes import Cluster, descendants, kill_all, wait_until
from sweeps import write_space
from undisturbed import WORDS, all_under_way, assert_undisturbed, events

ROOT = Path(__file__).parents[3]
HEAD, WORKER, CLIENT = "10.99.0.1", "10.99.0.2", "10.99.0.3"


@contextmanager
def machines(folder):
    """Two machines with SSH servers, and a client; yields the key, how to run on the client, what runs on the two."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("sshd", "rsync", "ip", "unshare"))):
        pytest.skip("machines need root, openssh-server, rsync and iproute2")
    Path("/tmp/ray").mkdir(exist_ok=True)
    with ExitStack() as stack:
        switch, servers = Cluster(stack, str(folder)), []
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        for number, ip in enumerate((HEAD, WORKER), start=1):
            switch.machine(number, ip)
            ssh_machines.make_machine(folder / ip, key.with_suffix(".pub").read_text())
            server = subprocess.Popen([*switch.on(number), *ssh_machines.sshd(folder / ip)], start_new_session=True)
            stack.callback(kill_all, server)
            servers.append(server)
        switch.machine(3, CLIENT)
        env = {**os.environ, "HOME": str(folder / "client")}
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_TMPDIR", "PYTHONPATH"):
            env.pop(name, None)
        env["PYTHONPATH"] = str(ROOT)

        def on_client(*words):
            command = [*switch.on(3), *ssh_machines.client(folder / "client"), sys.executable, "-m", *map(str, words)]
            done = subprocess.run(
                command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
            )
            return done.returncode, done.stdout

        yield key, on_client, lambda: [names(server) for server in servers]


def names(process):
    """Of the processes below this one."""
    files = [Path(f"/proc/{pid}/stat") for pid in descendants(process.pid)]
    stats = [file.read_text() for file in files if file.exists()]
    return [text.partition("(")[2].rpartition(")")[0] for text in stats if ") Z" not in text]


def onprem(folder, key):
    """cluster/onprem.yaml with its owner's values, and two processors in each machine: three trials need both."""
    owner = {
        "YOUR_HEAD_HOST": HEAD,
        "YOUR_WORKER_HOST": WORKER,
        "YOUR_SSH_USER": ssh_machines.USER,
        "YOUR_SSH_PRIVATE_KEY_FILE": str(key),
        "YOUR_SHARED_FOLDER": str(folder / "shared"),
    }
    text = (ROOT / "cluster" / "onprem.yaml").read_text().replace("ray start ", "ray start --num-cpus=2 ")
    file = folder / "onprem.yaml"
    file.write_text(re.sub(r"YOUR_[A-Z_]*[A-Z]", lambda match: owner[match[0]], text))
    return file


def finished(folder):
    """Names of trials that are through."""
    return [event["trial"] for event in events(folder) if event.get("status") == "COMPLETED"]


@pytest.mark.slow
def test_machines_over_ssh_run_a_sweep_and_are_left_without_ray(tmp_path):
    space = write_space(tmp_path)
    (tmp_path / "shared").mkdir()
    with (
        tempfile.TemporaryDirectory(prefix="m", dir="/tmp") as folder,
        machines(Path(folder)) as (key, on_client, running),
    ):
        file = onprem(tmp_path, key)
        code, output = on_client("gramtune.cli.main", "launch", file, space, *WORDS, "--detach")
        assert code == 0, output
        wait_until(lambda: all_under_way(tmp_path / "shared" / "runs" / "axis"), 400)
        assert not finished(tmp_path / "shared" / "runs" / "axis")
        code, output = on_client("gramtune.cli.main", "attach", file)
        assert code == 0, output
        assert "waiting for 1 of 2 machines" in output
        assert "3 COMPLETED" in output
        assert all("raylet" in names for names in running())
        code, output = on_client("gramtune.cli.main", "down", file)
        assert code == 0, output
        assert not {"raylet", "gcs_server"} & set(running()[0]), output
        wait_until(lambda: "raylet" not in running()[1])  # a worker notices by itself, within a minute or two
        code, output = on_client("gramtune.cli.main", "attach", file)
        assert code == 1, output
    assert_undisturbed(tmp_path / "shared" / "runs" / "axis", space)
