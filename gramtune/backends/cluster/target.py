"""The interface of clusters for `gramtune launch`, and the command that runs there."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gramtune.space.sweep import Sweep

Say = Callable[[str], None]


class ClusterError(RuntimeError):
    """A cluster's tool failed or does not answer. The message is one line; the tool's output was printed before it."""


@dataclass(frozen=True)
class Request:
    """A sweep to run on a cluster."""

    sweep: Sweep
    """The resolved sweep: the base inline, and the overrides of the command line applied."""
    runs: str | None = None
    """Folder of all sweeps on the cluster; None: $GRAMTUNE_RUNS of the cluster's environment."""
    resume: bool = False
    """Resume the sweep of that name instead of starting it."""
    options: tuple[str, ...] = ()
    """Further arguments of `gramtune sweep`."""

    def command(self, runs: str | None = None, address: str = "auto") -> str:
        """The shell line that runs the sweep next to its `sweep.yaml`; `runs` is the target's default folder."""
        folder = self.runs or runs
        unset = "${GRAMTUNE_RUNS:?is not set where this Ray was started: give gramtune launch --runs}"
        place = shlex.quote(folder) if folder else f'"{unset}"'
        words = f"resume {place}/{self.sweep.name}" if self.resume else f"sweep sweep.yaml --runs {place}"
        return (
            shlex.join(["exec", "python", "-m", "gramtune.cli.main"])
            + f" {words} --address {address}"
            + "".join(f" {shlex.quote(option)}" for option in self.options)
        )


class Target(ABC):
    """A cluster described by a file under cluster/."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @abstractmethod
    def steps(self, request: Request) -> list[str]:
        """What `up` and `submit` would do, one line each."""

    @abstractmethod
    def up(self, say: Say) -> None:
        """Starts the cluster unless it is running. Raises ClusterError."""

    @abstractmethod
    def submit(self, request: Request) -> str:
        """Starts the sweep there and returns the job's name. Raises ClusterError."""

    @abstractmethod
    def newest(self) -> str:
        """The job that was submitted last. Raises ClusterError if there is none."""

    @abstractmethod
    def follow(self, job: str, say: Say) -> int:
        """Prints the job's output from its beginning until it ends; reconnects after lost connections.

        Returns the exit code of the sweep. Raises ClusterError if there is no such job.
        """

    @abstractmethod
    def stop(self, job: str) -> None:
        """Interrupts the sweep like Ctrl-C, so that it writes its tables and can be resumed. Raises ClusterError."""

    @abstractmethod
    def down(self) -> None:
        """Shuts down the cluster; results on shared storage are kept. Raises ClusterError."""
