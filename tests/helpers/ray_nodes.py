"""A Ray cluster of several machines on this one: every node has an address and a temporary folder of its own.

Nothing is shared with any other Ray: the network namespaces see each other and nothing else, and only these processes
are ended. Further folders can be hidden from a node, as if no network disk held them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

HEAD = "10.99.0.1"
START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats")
PORTS = (  # known ones need no waiting: on a busy machine a raylet gives its agents too little time to report theirs
    "--runtime-env-agent-port=30001",
    "--dashboard-agent-grpc-port=30002",
    "--dashboard-agent-listen-port=30003",
    "--metrics-export-port=30004",
)
SMALL = ("--num-cpus=1", "--num-gpus=0", "--object-store-memory=80000000")


PRIVATE = ("unshare", "--mount", "sh", "-c", """
while [ "$1" != -- ]; do mount -t tmpfs tmpfs "$1"; shift; done; shift; exec "$@"
""", "sh")  # fmt: skip


class Node:
    """One `ray start --block` and everything that it started."""

    def __init__(self, ip, command, env, log):
        self.ip, self.log = ip, Path(log)
        with self.log.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, env=env, start_new_session=True)

    def kill(self, *others):
        """SIGKILL to the whole node at once, and to other processes on it, as when its machine loses power."""
        for number in (signal.SIGSTOP, signal.SIGKILL):  # first the one, so that nobody sees another die
            for process in (self.process, *others):
                _signal(process.pid, number)
        for process in (self.process, *others):
            process.wait()


class Cluster:
    """Namespaces on one switch, the nodes in them, and how to run a command on the head."""

    def __init__(self, stack, folder):
        self.folder, self.nodes, self._stack = folder, [], stack
        self._tag = f"gt{uuid.uuid4().hex[:6]}"
        self.env = {
            **os.environ,
            "RAY_AUTH_MODE": "disabled",
            "RAY_TMPDIR": folder,
            "RAY_raylet_start_wait_time_s": "180",
        }
        self.env.pop("RAY_ADDRESS", None)
        self._namespace("switch")
        _ip("-n", f"{self._tag}switch", "link", "add", "switch", "type", "bridge")
        _ip("-n", f"{self._tag}switch", "link", "set", "switch", "up")
        self.address, self.dashboard = f"{HEAD}:6379", f"http://{HEAD}:8265"

    def start(self, *arguments, resources=SMALL, hidden=()):
        """Starts the next node: the head, then workers, which do not see the `hidden` folders."""
        number = len(self.nodes) + 1
        ip = f"10.99.0.{number}"
        self.machine(number, ip)
        role = ["--head", f"--temp-dir={self.folder}"] if number == 1 else [f"--address={self.address}"]
        private = [] if number == 1 else [*PRIVATE, *map(str, (self.folder, *hidden)), "--"]
        command = [*self.on(number), *private, *START, *PORTS, f"--node-ip-address={ip}", *role, *resources, *arguments]
        node = Node(ip, command, self.env, Path(self.folder) / f"{ip}.log")
        self.nodes.append(node)
        self._stack.callback(node.kill)
        return node

    def on(self, number):
        """The beginning of a command on machine `number`, the head being 1."""
        return ["ip", "netns", "exec", f"{self._tag}{number}"]

    def run(self, *command, timeout=600, env=None, **kwargs):
        """A command on the head."""
        return subprocess.run(
            [*self.on(1), *map(str, command)], env={**self.env, **(env or {})}, capture_output=True, text=True,
            timeout=timeout, check=False, **kwargs,
        )  # fmt: skip

    def gramtune(self, *arguments, **kwargs):
        """A command of gramtune on the head."""
        return self.run(sys.executable, "-m", "gramtune.cli.main", *arguments, **kwargs)

    def background(self, *arguments, log, **kwargs):
        """The same, not waited for; ended with the cluster, its output in `log`."""
        command = [*self.on(1), sys.executable, "-m", "gramtune.cli.main", *map(str, arguments)]
        with Path(log).open("w") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, env=self.env, start_new_session=True, **kwargs
            )
        self._stack.callback(kill_all, process)
        return process

    def count(self):
        """Nodes that are up and can run trials."""
        done = self.run(sys.executable, "-c", COUNT, self.address)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.partition("count ")[2].split()[0])  # Ray prints what it likes besides

    def wait_for(self, n):
        """Until so many nodes are up."""
        done = self.run(sys.executable, "-c", WAIT, self.address, str(n), timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr + "".join(node.log.read_text() for node in self.nodes)

    def machine(self, number, ip):
        """A namespace with the address, plugged into the switch."""
        self._namespace(str(number))
        name, switch = f"{self._tag}{number}", f"{self._tag}switch"
        _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"port{number}", "netns", switch)
        _ip("-n", name, "address", "add", f"{ip}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "route", "add", "default", "dev", "eth0")  # leads nowhere; Ray takes its address from it
        _ip("-n", switch, "link", "set", f"port{number}", "master", "switch", "up")

    def _namespace(self, suffix):
        name = f"{self._tag}{suffix}"
        _ip("netns", "add", name)
        self._stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
        _ip("-n", name, "link", "set", "lo", "up")


WAIT = """
import sys, time, ray
deadline = time.monotonic() + 240
while True:
    try:
        ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
        break
    except Exception:  # Ray says in many ways that a node is not up yet, a bare Exception among them
        assert time.monotonic() < deadline
        time.sleep(1)
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    assert time.monotonic() < deadline
    time.sleep(0.2)
"""


COUNT = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print("count", sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes()))
"""


@contextmanager
def ray_cluster(workers, *head_arguments, resources=SMALL, hidden=(), env=None):
    """A head and so many workers, one CPU each; the last worker does not see the `hidden` folders."""
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # short: Ray puts unix sockets below it
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if os.geteuid() != 0 or subprocess.run(["ip", "netns", "list"], capture_output=True, check=False).returncode:
            pytest.skip("network namespaces need root and iproute2")
        cluster = Cluster(stack, folder)
        cluster.env |= env or {}
        cluster.start(*(head_arguments or ["--include-dashboard=false"]), resources=resources)
        cluster.wait_for(1)
        for number in range(1, workers + 1):
            cluster.start(resources=resources, hidden=hidden if number == workers else ())
            cluster.wait_for(1 + number)
        yield cluster


def kill_all(process):
    """The process and everything that it started."""
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def _signal(root, number):
    """To the process and all below it, until no new ones appear."""
    told = set()
    while fresh := descendants(root) - told:
        for pid in fresh:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        told |= fresh


def descendants(pid):
    """The process and all below it; Ray's workers have sessions of their own."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # has ended meanwhile
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = set(), [pid]
    while queue:
        found.add(one := queue.pop())
        queue += children.get(one, [])
    return found


def wait_until(condition, seconds=240):
    """Until the condition holds; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
