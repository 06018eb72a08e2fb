"""A running Ray cluster, by the address of its dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gramtune.backends.cluster.jobs import JobsTarget
from gramtune.backends.cluster.target import ClusterError, Request, Say


class Existing(JobsTarget):
    """A Ray cluster that gramtune neither starts nor stops."""

    def __init__(self, file: Path, dashboard: str) -> None:
        super().__init__(file)
        self._url = dashboard

    def steps(self, request: Request) -> list[str]:
        """See `Target`."""
        return [f"job at {self._url}: {request.command()}"]

    def up(self, say: Say) -> None:
        """See `Target`: a no-op."""

    @contextmanager
    def dashboard(self) -> Iterator[str]:
        """See `JobsTarget`."""
        yield self._url

    def down(self) -> None:
        """See `Target`. Raises ClusterError: the owner of the cluster must stop it."""
        raise ClusterError(
            f"{self.file}: gramtune did not start this cluster, so it cannot stop it; its owner must stop it"
        )
