"""Targets reached through Ray's Jobs API: submits jobs, follows their output across lost connections, stops them."""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
import time
from abc import abstractmethod
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from ray.exceptions import RayError
from ray.job_submission import JobStatus, JobSubmissionClient

import gramtune
from gramtune.backends.cluster.target import ClusterError, Request, Say, Target
from gramtune.record.tables import write_sweep

_MARK = "gramtune"
"""Metadata key of gramtune's jobs; its value is the sweep's name."""
_SILENCE = 30.0
"""After this many seconds without a log line, the job's state is polled over a new connection."""
_AGAIN = 5.0
"""Seconds between attempts to reconnect."""
_NOT_YET = "No available agent"
_FRESH = 120.0
"""Seconds to wait until a new head accepts jobs."""
_GRACE = 120
"""Seconds for a stopped sweep to write its tables."""
_LOST = (OSError, RuntimeError, aiohttp.ClientError, RayError)
"""Exceptions of Ray's client if the server does not answer; ClusterError is one."""


class JobsTarget(Target):
    """A Ray cluster whose dashboard, and therefore its Jobs API, can be reached from this machine."""

    runs: str | None = None
    """Default folder of all sweeps on the cluster; None if the cluster's environment sets it."""

    @abstractmethod
    def dashboard(self) -> AbstractContextManager[str]:
        """URL of the dashboard while the block runs. Raises ClusterError."""

    def submit(self, request: Request) -> str:
        """See `Target`. Uploads the package, so that the cluster runs the code of this machine."""
        with self._client() as client, tempfile.TemporaryDirectory() as folder:
            write_sweep(request.sweep, Path(folder))
            job = {
                "entrypoint": request.command(self.runs),
                "submission_id": f"{request.sweep.name}-{secrets.token_hex(3)}",
                "metadata": {_MARK: request.sweep.name},
                "runtime_env": {
                    "working_dir": folder,
                    "py_modules": [str(Path(gramtune.__file__).parent)],
                    # The signal of Ctrl-C, so that a stopped sweep ends like an interrupted one.
                    "env_vars": {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(_GRACE)},
                },
            }
            return _submitted(client, job)

    def newest(self) -> str:
        """See `Target`."""
        with self._client() as client:
            ours = [job for job in client.list_jobs() if _MARK in (job.metadata or {})]
        if not ours:
            raise ClusterError(f"{self.file}: no sweep was launched on this cluster")
        newest: str = max(ours, key=lambda job: job.start_time or 0).submission_id
        return newest

    def follow(self, job: str, say: Say) -> int:
        """See `Target`."""
        with self._client() as client:
            _details(client, job)
        printer, lost = LogPrinter(), False
        while True:
            try:
                with self._client() as client:
                    if lost:
                        say("connected again")
                    lost = False
                    asyncio.run(tail(client, job, printer))
                    details = _details(client, job)
                    if details.status.is_terminal():
                        return _exit_code(details, say)
            except _LOST as error:
                if not lost:
                    say(f"connection lost ({_line(error)}); the sweep keeps running there; reconnecting")
                lost = True
            time.sleep(_AGAIN)

    def stop(self, job: str) -> None:
        """See `Target`."""
        with self._client() as client:
            _details(client, job)
            client.stop_job(job)
            deadline = time.monotonic() + _GRACE
            while not _details(client, job).status.is_terminal() and time.monotonic() < deadline:
                time.sleep(1)

    def _client(self) -> AbstractContextManager[Any]:
        return _Client(self)


def _submitted(client: Any, job: dict[str, Any]) -> str:
    """The job's name. The dashboard of a new head answers before its agent accepts jobs. Raises ClusterError."""
    deadline = time.monotonic() + _FRESH
    while True:
        try:
            name: str = client.submit_job(**job)
            return name
        except _LOST as error:
            if _NOT_YET not in str(error) or time.monotonic() > deadline:
                raise ClusterError(f"the cluster refused the job: {_line(error)}") from None
        time.sleep(1)


class _Client:
    """A JobSubmissionClient for the block; a failed connection is a one-line ClusterError."""

    def __init__(self, target: JobsTarget) -> None:
        self._target = target

    def __enter__(self) -> Any:
        self._dashboard = self._target.dashboard()
        url = self._dashboard.__enter__()
        try:
            return JobSubmissionClient(url)
        except _LOST as error:
            self._dashboard.__exit__(None, None, None)
            raise ClusterError(f"{self._target.file}: no Jobs API at {url}: {_line(error)}") from None

    def __exit__(self, *error: Any) -> None:
        self._dashboard.__exit__(*error)


class LogPrinter:
    """Prints each character of a log once, although every new connection resends the log from its beginning."""

    def __init__(self) -> None:
        self._printed = self._seen = 0

    def begin(self) -> None:
        """Restarts the log."""
        self._seen = 0

    def __call__(self, text: str) -> None:
        """Prints what of this text has not been printed yet."""
        new = text[max(0, self._printed - self._seen) :]
        self._seen += len(text)
        self._printed = max(self._printed, self._seen)
        sys.stdout.write(new)
        sys.stdout.flush()


async def tail(client: Any, job: str, printer: LogPrinter, silence: float = _SILENCE) -> None:
    """Prints the log to its end, or until it is silent for `silence` seconds, because the connection may be lost."""
    printer.begin()
    log = client.tail_job_logs(job)
    with suppress(StopAsyncIteration, TimeoutError):
        while True:
            printer(await asyncio.wait_for(anext(log), silence))


def _details(client: Any, job: str) -> Any:
    try:
        return client.get_job_info(job)
    except RuntimeError as error:
        known = ", ".join(j.submission_id for j in client.list_jobs() if _MARK in (j.metadata or {})) or "none"
        raise ClusterError(f"no job {job}: {_line(error)}; existing jobs: {known}") from None


def _exit_code(details: Any, say: Say) -> int:
    if details.status == JobStatus.STOPPED:
        say("stopped; resume with: gramtune launch … --resume")
        return 130
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.driver_exit_code is None:
        say(f"{details.submission_id}: {_line(details.message or 'the job died without an error message')}")
        return 1
    code: int = details.driver_exit_code
    return code


def _line(error: object) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
