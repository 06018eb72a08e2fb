"""The reports of a trial after each evaluation, summaries over replicates, and merging of replicates added later."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import fmean, stdev
from typing import Any, TypeVar

from gramtune.record.student_t import t_quantile

_T = TypeVar("_T")


class Status(StrEnum):
    """The status of a trial."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    PRUNED = "PRUNED"
    PAUSED = "PAUSED"
    """Waits at a rung for its promotion. A trial that is not promoted stays paused when the sweep ends."""
    DIVERGED = "DIVERGED"
    STOPPED = "STOPPED"
    """Stopped before its last step by a budget of the sweep or by the user; it might have been the best."""
    FAILED = "FAILED"

    @property
    def final(self) -> bool:
        """Whether the trial has ended; a paused one has, until it is promoted."""
        return self not in (Status.PENDING, Status.RUNNING)


@dataclass(frozen=True)
class Report:
    """The report of one evaluation. One entry per replicate; None for a diverged replicate."""

    step: int
    metrics: Mapping[str, list[float | None]]
    traces: Mapping[str, list[float | None]]
    """Means of losses and traces over the steps since the previous report, and monitored values at this step."""
    samples: int
    """Number of generated samples per metric value."""
    seconds: float
    """Training and evaluation time of the trial so far."""
    timestamp: int
    """Unix time, seconds."""
    status: Status
    reason: str
    diverged: Sequence[str | None] = ()
    """Why replicates diverged, by replicate."""
    first: int = 0
    """The first replicate in these lists; above 0 if replicates are added to a finished trial."""
    joules: float | None = None
    """Energy of the trial's whole GPU so far, even if shared; None without an energy counter."""
    chosen: Mapping[str, list[float | None]] = field(default_factory=dict)
    """At the end of a trial that is judged by its best checkpoint: the metrics of that checkpoint on new samples."""
    chosen_step: int | None = None
    """The step of that checkpoint."""

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Report:
        """The report in a line of a result file; other fields are ignored."""
        fields = {name: line[name] for name in cls.__dataclass_fields__ if name in line}
        return cls(**{**fields, "status": Status(line["status"]), "diverged": tuple(line.get("diverged", ()))})

    def to_json(self) -> dict[str, Any]:
        """Inverse of `from_json`: plain values only."""
        return {**vars(self), "status": self.status.value, "diverged": list(self.diverged)}

    @property
    def replicates(self) -> int:
        """Number of replicates in this report."""
        return max(map(len, (self.diverged, *self.metrics.values())), default=0)


def added(*amounts: float | None) -> float | None:
    """The sum of the known values; None if there are none."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (None below two values) over the n replicates that have a value."""

    mean: float
    std: float | None
    n: int

    @property
    def margin(self) -> float | None:
        """Half of Student's 95 % interval of the mean over all seeds, t·std/√n; None below two values."""
        return None if self.std is None else t_quantile(self.n - 1) * self.std / math.sqrt(self.n)


def summarise(values: Sequence[float | None]) -> Summary | None:
    """Summary over replicates; None if there is no value at all."""
    known = [value for value in values if value is not None]
    return Summary(fmean(known), stdev(known) if len(known) > 1 else None, len(known)) if known else None


def divergence(whys: Mapping[int, str], replicates: int) -> str:
    """The reason in words: `1 of 3 replicates diverged; replicate 2: critic loss is nan at step 5`."""
    each = "; ".join(f"replicate {i}: {why}" for i, why in sorted(whys.items()))
    return f"{len(whys)} of {replicates} replicates diverged; {each}"


def merge_parts(parts: Mapping[int, Mapping[int, Report]], replicates: int) -> dict[int, Report]:
    """One report per step for all replicates; None where a replicate has no value yet."""
    steps = sorted({step for part in parts.values() for step in part})
    return {
        step: _join([part[step] for _, part in sorted(parts.items()) if step in part], replicates) for step in steps
    }


def _join(reports: Sequence[Report], replicates: int) -> Report:
    return replace(
        reports[-1],
        metrics=_rows([(report.first, report.metrics) for report in reports], replicates),
        traces=_rows([(report.first, report.traces) for report in reports], replicates),
        chosen=_rows([(report.first, report.chosen) for report in reports], replicates),
        diverged=_rows([(report.first, {"": report.diverged}) for report in reports], replicates)[""],
        seconds=sum(report.seconds for report in reports),
        joules=added(*(report.joules for report in reports)),
        timestamp=max(report.timestamp for report in reports),
        first=0,
    )


def _rows(parts: Sequence[tuple[int, Mapping[str, Sequence[_T | None]]]], size: int) -> dict[str, list[_T | None]]:
    """Lists over all replicates, by key, from lists that start at a given replicate."""
    rows: dict[str, list[_T | None]] = {}
    for first, values in parts:
        for key, some in values.items():
            rows.setdefault(key, [None] * size)[first : first + len(some)] = some
    return rows
