"""This machine as a cluster of one: a Ray head that outlives the terminal."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gramtune.backends.cluster.jobs import JobsTarget
from gramtune.backends.cluster.shell import RAY, detached, end, free_port, is_open, last_line, run
from gramtune.backends.cluster.target import ClusterError, Request, Say
from gramtune.run.machine import cores

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
        # The jobs' agent listens on one fixed port, and is silently missing where another Ray of this machine has it.
        process = detached([*self._start(), f"--dashboard-agent-listen-port={free_port()}"], log)
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
        """See `Target`. `ray stop` would end every Ray of this machine, and is not used."""
        if not (leaders := self._leaders()):
            raise ClusterError(f"{self.file}: no Ray head at port {self._port} that gramtune has started")
        for leader in leaders:
            end(leader)

    def _start(self) -> list[str]:
        words = [*RAY, "start", "--head", "--block", "--disable-usage-stats", f"--port={self._port}"]
        words += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self._dashboard_port}"]
        return words + [f"{option}={value}" for option, value in self._shares.items() if value is not None]

    def _leaders(self) -> list[int]:
        """Processes of this user that are the `ray start` of this file's ports."""
        wanted = [word.encode() for word in self._start()[: len(RAY) + 7]]
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    mine = entry.stat().st_uid == os.getuid()
                except OSError:  # has ended meanwhile
                    continue
                found += [int(entry.name)] if mine and words[: len(wanted)] == wanted else []
        return found
