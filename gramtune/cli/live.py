"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gramtune.analysis.labels import leaves, value_text
from gramtune.cli.text import duration, spread
from gramtune.record.report import Report, Status, summarise
from gramtune.record.state import SweepState, TrialRecord

_COLOURS = {
    Status.PENDING: "dim",
    Status.RUNNING: "cyan",
    Status.COMPLETED: "green",
    Status.PRUNED: "yellow",
    Status.DIVERGED: "magenta",
    Status.STOPPED: "yellow",
    Status.FAILED: "red",
}

_Parts = dict[int, dict[int, Report]]
_PAUSE = 0.2
"""Seconds between two looks at all trials: fast ones report a hundred times per second."""


@contextmanager
def watching(state: SweepState, console: Console) -> Iterator[None]:
    """Shows the state until the block ends; of what had happened before, lines say nothing."""
    started = time.monotonic()
    if console.is_terminal:
        with Live(get_renderable=lambda: _view(state, console.height, started), console=console, refresh_per_second=2):
            yield
        return
    stop, lines = threading.Event(), Lines(state)
    thread = threading.Thread(target=_print_lines, args=(lines, console, stop, started), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _view(state: SweepState, height: int, started: float) -> Group:
    elapsed = time.monotonic() - started
    return Group(table(state, height - 4), Text(caption(state, elapsed), style="italic"))


def table(state: SweepState, rows: int) -> Table:
    """One row per trial: its values, progress, metric, status, time left.

    Where not all fit in `rows`: those that run, then the last that ended, then the next.
    """
    keys = leaves(state.plan.sweep.space)
    result = Table(box=None, pad_edge=False)
    for name in keys.values():
        result.add_column(Text(name), justify="right", no_wrap=True)
    for heading in ("progress", "", f"{state.plan.metric} (mean ± std)", "status", "left"):
        result.add_column(heading, no_wrap=True)
    for record in _visible(list(state.records.values()), rows):
        total = record.trial.config.training.steps
        step = record.step
        result.add_row(
            *(Text(value_text(record.assignment.get(key, ""))) for key in keys),
            ProgressBar(total=total, completed=step, width=16),
            f"{step}/{total}",
            spread(record.summary(state.plan.metric)),
            Text(record.status.value, style=_COLOURS[record.status]),
            _left(record),
        )
    return result


def _visible(records: list[TrialRecord], rows: int) -> list[TrialRecord]:
    if len(records) <= rows:
        return records
    order = [r for r in records if r.status == Status.RUNNING]
    order += [r for r in reversed(records) if r.status.final] + [r for r in records if r.status == Status.PENDING]
    shown = {record.trial.name for record in order[: max(rows, 1)]}
    return [record for record in records if record.trial.name in shown]


def _left(record: TrialRecord) -> str:
    if record.status != Status.RUNNING or not record.step:
        return ""
    newest = record.parts[max(record.parts)][record.step]
    return duration(newest.seconds * (record.trial.config.training.steps - newest.step) / newest.step)


def caption(state: SweepState, elapsed: float) -> str:
    """How much is done after so many seconds, how long the rest will take, and what is best so far."""
    records = list(state.records.values())
    done = sum(_fraction(record) for record in records) / state.plan.size
    left = f", about {duration(elapsed * (1 - done) / done)} left" if 0.02 < done < 1 else ""
    best = state.best
    leader = f"; best so far {best.trial.name}: {spread(best.summary(state.plan.metric))}" if best else ""
    finished = sum(record.status.final for record in records)
    return f"{finished} of {state.plan.size} trials finished, {duration(elapsed)} elapsed{left}{leader}"


def _fraction(record: TrialRecord) -> float:
    if record.status.final:
        return 1.0
    return record.step / record.trial.config.training.steps


class Lines:
    """Says in plain lines what has changed in a state, each change once."""

    def __init__(self, state: SweepState) -> None:
        self.state = state
        self._told = {name: (record.status, _reported(record)) for name, record in state.records.items()}
        self._seen: dict[str, tuple[Status, _Parts]] = {}

    def new(self) -> list[str]:
        """A line per evaluation and per change of status since the last call; an end is told with its evaluation."""
        return [
            line for record in self.state.records.values() if self._has_changed(record) for line in self._of(record)
        ]

    def _has_changed(self, record: TrialRecord) -> bool:
        """Since it was looked at; a report replaces `parts`. For thousands of trials that is all there is time for."""
        name, status, parts = record.trial.name, record.status, record.parts
        seen = self._seen.get(name)
        if seen is not None and seen[0] is status and seen[1] is parts:
            return False
        self._seen[name] = status, parts
        return True

    def _of(self, record: TrialRecord) -> list[str]:
        told, known = self._told.get(record.trial.name, (Status.PENDING, set[tuple[int, int]]()))
        status, reports = record.status, _reported(record)
        fresh = [record.parts[first][step] for first, step in sorted(reports - known)]
        lines = [self._line(record, report, report.status, report.reason) for report in fresh]
        # The runner goes on meanwhile: a report may be newer than the status that was read before it.
        if status != told and (not fresh or (status.final and status != fresh[-1].status)):
            lines.append(self._line(record, record.last, status, record.reason))
        elif fresh:
            status = fresh[-1].status
        self._told[record.trial.name] = (status, reports)
        return lines

    def _line(self, record: TrialRecord, report: Report | None, status: Status, reason: str) -> str:
        metric, total = self.state.plan.metric, record.trial.config.training.steps
        value = ""
        if report:
            value = f"step {report.step}/{total}  {metric} {spread(summarise(report.metrics.get(metric, [])))}  "
        return f"{record.trial.name}  {value}{status}  {reason}".rstrip()


def _reported(record: TrialRecord) -> set[tuple[int, int]]:
    """The reports that there are, by first replicate and step."""
    return {(first, step) for first, part in record.parts.items() for step in part}


def _print_lines(lines: Lines, console: Console, stop: threading.Event, started: float) -> None:
    version = -1
    while True:
        last_round = stop.is_set()
        version = lines.state.wait(version, timeout=0.0 if last_round else 0.5)
        for line in lines.new():
            elapsed = duration(time.monotonic() - started)
            console.print(f"{elapsed:>7}  {line}", highlight=False, markup=False, emoji=False, soft_wrap=True)
        if last_round:
            return
        stop.wait(_PAUSE)
