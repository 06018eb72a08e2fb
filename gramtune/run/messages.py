"""What a trial tells the driver: it has evaluated, it has failed, or the sweep must halt.

Ray passes dictionaries of plain values between processes: `encoded` and `decoded` are the two ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gramtune.record.report import Report


@dataclass(frozen=True)
class Reported:
    """The trial has evaluated."""

    trial: str
    report: Report
    damaged: tuple[str, ...] = ()
    """The first time: checkpoints that cannot be read, one line each. An older one was used."""


@dataclass(frozen=True)
class Failed:
    """The trial is given up."""

    trial: str
    reason: str
    out_of_memory: bool = False
    """A GPU was full. The trial may succeed with a larger share of it."""


@dataclass(frozen=True)
class Halted:
    """No trial can continue: the disk is full, or a file is gone."""

    trial: str
    reason: str


Message = Reported | Failed | Halted
_KINDS: Mapping[str, type[Failed] | type[Halted]] = {"failed": Failed, "halted": Halted}


def encoded(message: Message) -> dict[str, Any]:
    """The message as plain values, with its `kind`."""
    if isinstance(message, Reported):
        return {**vars(message), "kind": "reported", "report": message.report.to_json()}
    return {**vars(message), "kind": "failed" if isinstance(message, Failed) else "halted"}


def decoded(values: Mapping[str, Any]) -> Message:
    """Inverse of `encoded`. Raises KeyError for another kind."""
    fields = {name: value for name, value in values.items() if name != "kind"}
    if values["kind"] == "reported":
        return Reported(fields["trial"], Report.from_json(fields["report"]), tuple(fields["damaged"]))
    return _KINDS[values["kind"]](**fields)
