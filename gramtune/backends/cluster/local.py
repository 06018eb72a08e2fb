"""This machine as a cluster with one node: a Ray head that keeps running when the terminal is closed."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ray._common.utils import get_ray_address_file

from gramtune.backends.cluster.jobs import JobsTarget
from gramtune.backends.cluster.shell import RAY, detached, end, free_port, is_open, last_line, run
from gramtune.backends.cluster.target import ClusterError, Request, Say
from gramtune.run.machine import cores

_MARK = "GRAMTUNE_RAY_HEAD"
"""Environment variable that marks all processes of a head, so that they are found after the head was killed."""
_TIDY = """
trap : TERM INT HUP
port=$0 file=$1; shift
"$@"
code=$?
case $(cat "$file" 2>/dev/null) in *:$port) rm -f "$file";; esac
exit $code
"""
"""Shell lines that start Ray and remove the file with its address when Ray ends for any reason."""
_STOP = 20.0
"""Seconds to wait for Ray to end by itself, and then for its remaining processes to end."""
_START = 300.0
"""Seconds for Ray and its dashboard to start; on a busy machine half a minute is usual."""


class Local(JobsTarget):
    """A head on this machine, started if nothing answers at the dashboard's port."""

    def __init__(self, file: Path, port: int, dashboard_port: int, num_cpus: int | None, num_gpus: int | None) -> None:
        super().__init__(file)
        self._port, self._dashboard_port = port, dashboard_port
        self._shares = {"--num-cpus": num_cpus or cores(), "--num-gpus": num_gpus}
        self.runs = str(Path("runs").absolute())

    def steps(self, request: Request) -> list[str]:
        """See `Target`."""
        return [" ".join(["ray", *self._start()[len(RAY) :]]), f"job: {request.command(self.runs)}"]

    def up(self, say: Say) -> None:
        """See `Target`."""
        if is_open(self._dashboard_port):
            return
        if os.environ.get("RAY_AUTH_MODE") == "token":
            run([*RAY, "get-auth-token", "--generate"], capture=True)
        say(f"starting a Ray head on this machine, dashboard on port {self._dashboard_port}")
        log = Path(tempfile.gettempdir()) / f"gramtune-ray-{os.getuid()}-{self._port}.log"
        # The jobs' agent uses a fixed port; if another Ray on this machine uses it, the agent is silently missing.
        start = [*self._start(), f"--dashboard-agent-listen-port={free_port()}"]
        tidy = ["sh", "-c", _TIDY, str(self._port), str(get_ray_address_file(None)), *start]
        process = detached(tidy, log, **{_MARK: str(self._port)})
        deadline = time.monotonic() + _START
        while not is_open(self._dashboard_port):
            if process.poll() is not None:
                raise ClusterError(f"ray start ended with exit code {process.returncode}: {last_line(log)} ({log})")
            if time.monotonic() > deadline:
                end(process.pid)
                raise ClusterError(f"no dashboard at port {self._dashboard_port} after {_START:g} s")
            time.sleep(0.5)

    @contextmanager
    def dashboard(self) -> Iterator[str]:
        """See `JobsTarget`."""
        yield f"http://127.0.0.1:{self._dashboard_port}"

    def down(self) -> None:
        """See `Target`. Does not use `ray stop`, which would end every Ray on this machine."""
        found, deadline = self._processes(), time.monotonic() + _STOP
        for pid in self._leaders():
            _signal(pid, signal.SIGTERM)
        while self._leaders() and time.monotonic() < deadline:
            time.sleep(0.2)
        for pid in self._processes():  # processes that outlived their head
            _signal(pid, signal.SIGKILL)
        while self._processes() and time.monotonic() < deadline + _STOP:
            time.sleep(0.2)
        if not (self._forget_address() or found):
            raise ClusterError(f"{self.file}: gramtune started no Ray head at port {self._port}")

    def _start(self) -> list[str]:
        words = [*RAY, "start", "--head", "--block", "--disable-usage-stats", f"--port={self._port}"]
        words += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self._dashboard_port}"]
        return words + [f"{option}={value}" for option, value in self._shares.items() if value is not None]

    def _forget_address(self) -> bool:
        """Removes Ray's file with its address; otherwise every plain `ray.init()` here would wait for the dead head."""
        file = Path(get_ray_address_file(None))
        try:
            host, _, port = file.read_text(encoding="utf-8").strip().rpartition(":")
            if port != str(self._port) or is_open(self._port):
                return False
            file.unlink()
        except (OSError, UnicodeDecodeError):  # the file is missing or belongs to another user
            return False
        return bool(host)

    def _leaders(self) -> list[int]:
        """Processes of this user that run `ray start` with this file's ports."""
        wanted = [word.encode() for word in self._start()[: len(RAY) + 7]]
        return [pid for pid in _own() if _words(pid, "cmdline")[: len(wanted)] == wanted]

    def _processes(self) -> list[int]:
        """All processes started by this file's head, found by the mark in their environment."""
        mark = f"{_MARK}={self._port}".encode()
        return [pid for pid in _own() if mark in _words(pid, "environ")]


def _own() -> list[int]:
    """Processes of this user."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # the process has ended meanwhile
            found += [int(entry.name)] if entry.name.isdecimal() and entry.stat().st_uid == os.getuid() else []
    return found


def _words(pid: int, name: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")
    except OSError:
        return []


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
