"""Runs MLflow's web interface for `gramtune ui`: only on loopback, with few processes, until the command ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from typing import IO, Any

from gramtune.backends.mlflow.store import EXPERIMENT, artifact_root, checked_uri, ensure_store, is_server, runs_url
from gramtune.backends.mlflow.view import newest_view
from gramtune.record.redaction import redact

HOST = "127.0.0.1"
_START_SECONDS = 300.0
_STOP_SECONDS = 10.0
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONSAFEPATH": "1",  # the working directory may hold a random.py; -P is not passed on to its workers
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes, for features that a sweep does not use
}


class ServerError(RuntimeError):
    """The web interface cannot start. The message is one line."""


def serve(uri: str, port: int, runs: Path, say: Callable[[str], None] = print) -> int:
    """Serves the store until Ctrl-C and prints its address; for a server's URI only prints it. Returns the exit code.

    `runs`: folder of sweeps, which holds the files of a database that has no folder itself.
    Raises SpecError for a URI that cannot hold a sweep.
    """
    uri = checked_uri(uri)
    if is_server(uri):
        say(_pages(uri, redact(uri)))
        return 0
    try:
        with _interruptible(), running_server(uri, port, runs) as (base, process):
            say(f"{_pages(base, base)}\nCtrl-C stops the server")
            process.wait()
            say(f"MLflow's server ended unexpectedly (exit code {process.returncode})")
            return 1
    except (ServerError, OSError) as error:
        print(redact(str(error), uri), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


@contextmanager
def running_server(uri: str, port: int = 0, runs: Path = Path("runs")) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Starts an `mlflow server` on the store; yields its address and process. All its processes end with the block.

    Port 0 chooses a free port. Raises ServerError, or OSError if the store's folder cannot be written.
    """
    uri = checked_uri(uri)
    port = _free_port(port)
    ensure_store(uri)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            server_command(uri, port, runs),
            env=_environment(uri),
            cwd="/",  # uvicorn imports from the working directory: it may hold a random.py
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own process group, so that its children can be stopped too
        )
        try:
            base = f"http://{HOST}:{port}"
            _wait_until_healthy(base, process, log)
            yield base, process
        finally:
            _end_group(process)


def server_command(uri: str, port: int, runs: Path) -> list[str]:
    """The command that starts MLflow's server, on loopback only. It omits the URI, which may hold a password."""
    root = artifact_root(uri, runs)
    assert root is not None, "a server's URI is not served"
    options = {
        "--artifacts-destination": str(root),
        "--host": HOST,
        "--port": str(port),
        "--workers": "1",
    }
    return [sys.executable, "-P", "-m", "mlflow", "server", *(text for option in options.items() for text in option)]


def _environment(uri: str) -> dict[str, str]:
    """The server's environment. It contains the store's URI, because an argument would show its password to `ps`."""
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_LOGGING_LEVEL"}
    return {**inherited, **_SETTINGS, "MLFLOW_BACKEND_STORE_URI": uri}


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise ServerError(f"port {port} of {HOST} cannot be used ({error}); choose another with --port") from None
        return int(probe.getsockname()[1])


def _wait_until_healthy(base: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            lines = log.read().decode(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
            raise ServerError(f"MLflow's server did not start: {last}")
        try:
            with _direct(f"{base}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise ServerError(f"MLflow's server did not answer within {_START_SECONDS:.0f} s")


def _direct(url: str, timeout: float) -> Any:
    """The answer of a server on this machine; ignores proxy settings of the environment."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=timeout)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Stops the process and its children."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # processes that ignored SIGTERM
    process.wait()


def _pages(base: str, shown: str) -> str:
    """The addresses of the experiment's runs and of the newest sweep's view; before it answers, of the start page."""
    query = f"{base}/api/2.0/mlflow/experiments/get-by-name?experiment_name={EXPERIMENT}"
    try:
        with _direct(query, timeout=10) as answer:
            experiment = json.load(answer)["experiment"]
            lines = [runs_url(shown, experiment["experiment_id"])]
            if view := newest_view({tag["key"]: tag["value"] for tag in experiment.get("tags", [])}):
                lines.append(f"newest sweep, {view.name}: {runs_url(shown, experiment['experiment_id'], view.key)}")
    except (OSError, ValueError, KeyError, HTTPException):
        return f"{shown}/#/experiments?workflowType=machine_learning"
    return "\n".join(lines)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ends the block with KeyboardInterrupt also when the terminal is closed or the process is told to end."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
