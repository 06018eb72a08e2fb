"""A Ray that somebody else started, by the address of its dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gramtune.backends.cluster.jobs import JobsTarget
from gramtune.backends.cluster.target import ClusterError, Request, Say


class Existing(JobsTarget):
    """Neither started nor ended by gramtune."""

    def __init__(self, file: Path, dashboard: str) -> None:
        super().__init__(file)
        self._url = dashboard

    def steps(self, request: Request) -> list[str]:
        """See `Target`."""
        return [f"job at {self._url}: {request.command()}"]

    def up(self, say: Say) -> None:
        """See `Target`: nothing to do."""

    @contextmanager
    def dashboard(self) -> Iterator[str]:
        """See `JobsTarget`."""
        yield self._url

    def down(self) -> None:
        """See `Target`. Raises ClusterError: whoever started it ends it."""
        raise ClusterError(f"{self.file}: gramtune has not started this cluster and does not end it")
