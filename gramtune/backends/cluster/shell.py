"""Runs external command-line tools, to their end or as a tunnel."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gramtune.backends.cluster.target import ClusterError

RAY = (sys.executable, "-P", "-m", "ray.scripts.scripts")
"""The command line of the Ray that gramtune uses."""
_TUNNEL = 60.0
"""Seconds for a tunnel to open."""


def run(command: Sequence[str], *, capture: bool = False) -> str:
    """Runs a tool to its end; its output goes to the terminal, or is returned. Raises ClusterError if it fails."""
    if shutil.which(command[0]) is None:
        raise ClusterError(f"{command[0]} is not installed on this machine")
    done = subprocess.run(command, stdout=subprocess.PIPE if capture else None, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"failed with exit code {done.returncode}: {_shown(command)}")
    return done.stdout or ""


@contextmanager
def tunnel(command: Sequence[str], port: int) -> Iterator[str]:
    """Runs a tool that forwards `port` of the loopback interface during the block; yields the URL.

    Raises ClusterError if the tool ends or does not open the port.
    """
    if shutil.which(command[0]) is None:
        raise ClusterError(f"{command[0]} is not installed on this machine")
    with tempfile.TemporaryDirectory() as folder:
        process = detached(command, log := Path(folder) / "log")
        try:
            _wait_open(port, process, command, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            end(process.pid)
            process.wait()


def detached(command: Sequence[str], log: Path, **variables: str) -> subprocess.Popen[bytes]:
    """Starts a tool without a terminal, in a new process group, with its output in `log`."""
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    """Whether a process listens on that port of the loopback interface."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def end(leader: int) -> None:
    """Sends SIGTERM to a process and the process group that it leads."""
    try:
        os.killpg(leader, signal.SIGTERM)
    except ProcessLookupError:
        return


def last_line(log: Path) -> str:
    """The last line of a tool's output."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no output"


def _wait_open(port: int, process: subprocess.Popen[bytes], command: Sequence[str], log: Path) -> None:
    deadline = time.monotonic() + _TUNNEL
    while not is_open(port):
        if process.poll() is not None:
            raise ClusterError(f"ended with exit code {process.returncode}: {_shown(command)}: {last_line(log)}")
        if time.monotonic() > deadline:
            raise ClusterError(f"no connection after {_TUNNEL:g} s: {_shown(command)}")
        time.sleep(0.2)


def _shown(command: Sequence[str]) -> str:
    words = ["ray", *command[len(RAY) :]] if tuple(command[: len(RAY)]) == RAY else list(command)
    return " ".join(words)
