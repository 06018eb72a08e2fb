"""Machines started by Ray's cluster launcher: over SSH, on AWS, on Google Cloud. The file has Ray's own format."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import jsonschema
from ray.autoscaler._private.util import prepare_config, validate_config

from gramtune.backends.cluster.jobs import JobsTarget
from gramtune.backends.cluster.shell import RAY, free_port, run, tunnel
from gramtune.backends.cluster.target import ClusterError, Request, Say
from gramtune.errors import Issue, SpecError

_CLIENTS = {"aws": ("boto3", "boto3"), "gcp": ("googleapiclient", "google-api-python-client")}
"""By provider: the module that Ray needs on this machine, and the package that contains it."""


class RayLauncher(JobsTarget):
    """`ray up`, `ray dashboard`, `ray down`."""

    def __init__(self, file: Path, config: dict[str, Any]) -> None:
        super().__init__(file)
        self._provider = check(file, config)

    def steps(self, request: Request) -> list[str]:
        """See `Target`."""
        return [f"ray up {self.file} --no-restart", f"job: {request.command()}"]

    def up(self, say: Say) -> None:
        """See `Target`. Does not change a running cluster: Ray is not restarted, and jobs continue."""
        module, package = _CLIENTS.get(self._provider, ("ray", "ray"))
        if find_spec(module) is None:
            raise ClusterError(f"{self.file}: {self._provider} needs {package} on this machine: pip install {package}")
        run([*RAY, "up", str(self.file), "--yes", "--no-restart"])

    @contextmanager
    def dashboard(self) -> Iterator[str]:
        """See `JobsTarget`: an SSH tunnel to the head."""
        port = free_port()
        with tunnel([*RAY, "dashboard", str(self.file), "--port", str(port)], port) as url:
            yield url

    def down(self) -> None:
        """See `Target`."""
        run([*RAY, "down", str(self.file), "--yes"])


def check(file: Path, config: dict[str, Any]) -> str:
    """Ray's own validation, without any cloud; returns the provider's name. Raises SpecError."""
    try:
        prepared = prepare_config(copy.deepcopy(config))
        validate_config(prepared)
    except (
        *(ValueError, KeyError, TypeError, AttributeError, NotImplementedError),
        *(click.ClickException, jsonschema.ValidationError),
    ) as error:
        text = error.message if isinstance(error, click.ClickException | jsonschema.ValidationError) else str(error)
        line = next(iter(text.strip().splitlines()), type(error).__name__)
        raise SpecError([Issue(str(file), f"Ray's launcher refuses it: {line}")]) from None
    provider: str = prepared["provider"]["type"]
    return provider
