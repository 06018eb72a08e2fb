"""Kubernetes with the KubeRay operator; the cluster file is a file for `kubectl apply`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gramtune.backends.cluster.jobs import JobsTarget
from gramtune.backends.cluster.shell import free_port, run, tunnel
from gramtune.backends.cluster.target import Request, Say

_READY = "600s"
"""Timeout of the head's pod: a node may have to start and pull an image of gigabytes."""


class Kubernetes(JobsTarget):
    """`kubectl apply`, `port-forward`, `delete`."""

    def __init__(self, file: Path, cluster: dict[str, Any]) -> None:
        super().__init__(file)
        metadata = cluster["metadata"]
        self._name: str = metadata["name"]
        self._space = ["--namespace", metadata["namespace"]] if "namespace" in metadata else []

    def steps(self, request: Request) -> list[str]:
        """See `Target`."""
        return [" ".join(command) for command in self._up()] + [f"job: {request.command()}"]

    def up(self, say: Say) -> None:
        """See `Target`. Applying again changes nothing."""
        for command in self._up():
            run(command)

    @contextmanager
    def dashboard(self) -> Iterator[str]:
        """See `JobsTarget`: kubectl's tunnel to the head's service."""
        port = free_port()
        forward = ["kubectl", "port-forward", *self._space, f"service/{self._name}-head-svc", f"{port}:8265"]
        with tunnel(forward, port) as url:
            yield url

    def down(self) -> None:
        """See `Target`. Keeps the file's volume claim, which holds the results."""
        run(["kubectl", "delete", *self._space, f"raycluster/{self._name}"])

    def _up(self) -> list[list[str]]:
        ready = ["kubectl", "wait", *self._space, "--for=condition=HeadPodReady", f"--timeout={_READY}"]
        return [["kubectl", "apply", "-f", str(self.file)], [*ready, f"raycluster/{self._name}"]]
