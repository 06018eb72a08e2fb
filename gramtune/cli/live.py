"""The progress of a running sweep: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gramtune.analysis.labels import assignment_text, count, leaves, value_text
from gramtune.cli.text import duration, spread
from gramtune.record.report import Report, Status, summarise
from gramtune.record.state import SweepState, TrialRecord

_COLOURS = {
    Status.PENDING: "dim",
    Status.RUNNING: "cyan",
    Status.COMPLETED: "green",
    Status.PRUNED: "yellow",
    Status.PAUSED: "yellow",
    Status.DIVERGED: "magenta",
    Status.STOPPED: "yellow",
    Status.FAILED: "red",
}

_Parts = dict[int, dict[int, Report]]
_BAR, _LEAST, _GAP = 16, 4, 2
"""Widths in terminal cells: of a progress bar, the minimum of a cut column, and of the gap between two columns."""
_WHAT = " (mean ± std)"
_PAUSE = 0.2
"""Seconds between two polls of all trials: fast trials report a hundred times per second."""


@contextmanager
def watching(state: SweepState, console: Console) -> Iterator[None]:
    """Shows the state until the block ends. Plain lines leave out what happened before the block."""
    started, pace = time.monotonic(), Pace(state)
    if console.is_terminal:

        def view() -> Group:
            return _view(state, console, time.monotonic() - started, pace)

        with Live(get_renderable=view, console=console, refresh_per_second=2):
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


class Pace:
    """The speed of a sweep, measured from the first report of this run, so that the start-up of Ray does not count."""

    def __init__(self, state: SweepState) -> None:
        self._state = state
        self._reports = _count_reports(state)
        self._begun: tuple[float, float] | None = None
        """Stores the time of the first report and the finished share at that time."""

    def left(self, elapsed: float) -> float | None:
        """Estimated seconds until the end; None before the first report."""
        done = _done(self._state)
        if self._begun is None:
            if _count_reports(self._state) > self._reports:
                self._begun = elapsed, done
            return None
        since, before = self._begun
        return (elapsed - since) * (1 - done) / (done - before) if done - before > 0.02 and done < 1 else None

    @property
    def waiting(self) -> bool:
        """Whether no trial has reported yet in this run."""
        return self._begun is None and bool(self._state.unfinished or not self._state.records)


def _count_reports(state: SweepState) -> int:
    return sum(len(part) for record in state.records.values() for part in record.parts.values())


def _done(state: SweepState) -> float:
    return sum(_fraction(record) for record in state.records.values()) / state.plan.size


def _view(state: SweepState, console: Console, elapsed: float, pace: Pace) -> Group:
    below = Text(caption(state, elapsed, pace), style="italic")
    lines = len(below.wrap(console, console.width))
    return Group(table(state, console.height - 3 - lines, console.width), below)


@dataclass(frozen=True)
class _Column:
    """A column of the live table: its cells, and whether a narrow terminal may cut it."""

    heading: str
    cells: Sequence[Text | ProgressBar]
    elastic: bool = False
    right: bool = False

    @property
    def width(self) -> int:
        widths = [_BAR if isinstance(cell, ProgressBar) else cell.cell_len for cell in self.cells]
        return max(cell_len(self.heading), *widths, 0)


def table(state: SweepState, rows: int, width: int = 120) -> Table:
    """One row per trial: its number, values, progress, metric, status, time left.

    If there are more trials than `rows`, running ones come first, then the last finished, then the next to start. If
    the columns do not fit in `width`, it drops the bar, then the time left, then the last keys; steps and status stay.
    """
    shown = state.most_current(rows)
    columns = _fitted(_columns(state, shown), width)
    result = Table(box=None, pad_edge=False)
    for column, columns_width in columns:
        justify: JustifyMethod = "right" if column.right else "left"
        heading = Text(column.heading, overflow="ellipsis")
        result.add_column(heading, justify=justify, no_wrap=True, overflow="ellipsis", width=columns_width)
    for row in zip(*(column.cells for column, _ in columns), strict=True):
        result.add_row(*row)
    return result


def _columns(state: SweepState, shown: Sequence[TrialRecord]) -> dict[str, _Column]:
    """All columns, by the names that `_fitted` uses."""
    totals = [record.trial.config.training.steps for record in shown]
    bars = [ProgressBar(total=n, completed=r.step, width=_BAR) for r, n in zip(shown, totals, strict=True)]
    keys = {
        f"key {key}": _Column(
            name, [Text(value_text(r.assignment.get(key, ""))) for r in shown], elastic=True, right=True
        )
        for key, name in leaves(state.plan.sweep.space).items()
    }
    steps = [Text(f"{r.step}/{total}") for r, total in zip(shown, totals, strict=True)]
    values = [Text(spread(r.summary(state.plan.metric))) for r in shown]
    return {
        "number": _Column("trial", [Text(str(r.number)) for r in shown], right=True),
        **keys,
        "bar": _Column("progress", bars),
        "steps": _Column("", steps),
        "metric": _Column(f"{state.plan.metric}{_WHAT}", values, elastic=True),
        "status": _Column("status", [Text(r.status.value, style=_COLOURS[r.status]) for r in shown]),
        "left": _Column("left", [Text(_left(r)) for r in shown]),
    }


def _fitted(columns: dict[str, _Column], width: int) -> list[tuple[_Column, int]]:
    """The columns that fit, each with its width. Elastic columns are cut if even the minimal set is too wide."""
    keys = [name for name in columns if name.startswith("key ")]
    for name in ("bar", "left", "metric", *reversed(keys[1:])):
        if _total(columns.values()) <= width:
            break
        if name == "metric":
            columns[name] = replace(columns[name], heading=columns[name].heading.removesuffix(_WHAT))
        else:
            del columns[name]
    widths = {name: column.width for name, column in columns.items()}
    excess = _total(columns.values()) - width
    for name in sorted(widths, key=lambda name: -widths[name]):
        if columns[name].elastic and excess > 0:
            cut = min(excess, widths[name] - _LEAST)
            widths[name], excess = widths[name] - max(cut, 0), excess - max(cut, 0)
    return [(column, widths[name]) for name, column in columns.items()]


def _total(columns: Iterable[_Column]) -> int:
    """Width in cells of the columns side by side, with gaps."""
    widths = [column.width for column in columns]
    return sum(widths) + _GAP * (len(widths) - 1)


def _left(record: TrialRecord) -> str:
    if record.status != Status.RUNNING or not record.step:
        return ""
    newest = record.parts[max(record.parts)][record.step]
    return duration(newest.seconds * (record.trial.config.training.steps - newest.step) / newest.step)


def caption(state: SweepState, elapsed: float, pace: Pace) -> str:
    """The caption of the table: finished trials, elapsed time, time left, best trial so far."""
    seconds = pace.left(elapsed)
    left = f", about {duration(seconds)} left" if seconds is not None else ""
    best = state.best
    name = f"trial {best.number} ({assignment_text(best.assignment)})" if best else ""
    leader = f"; best so far {name}: {spread(best.summary(state.plan.metric))}" if best else ""
    finished = sum(record.status.final for record in state.records.values())
    wait = "; the first trial is starting" if pace.waiting else ""
    return f"{finished} of {count(state.plan.size, 'trial')} finished, {duration(elapsed)} elapsed{left}{wait}{leader}"


def _fraction(record: TrialRecord) -> float:
    if record.status.final:
        return 1.0
    return record.step / record.trial.config.training.steps


class Lines:
    """Reports the changes of a state as plain lines, each change once."""

    def __init__(self, state: SweepState) -> None:
        self.state = state
        self._told = {name: (record.status, _reported(record)) for name, record in state.records.items()}
        self._seen: dict[str, tuple[Status, _Parts]] = {}

    def new(self) -> list[str]:
        """One line per evaluation and per change of status since the last call; a final status shares the line of
        the last evaluation."""
        return [
            line for record in self.state.records.values() if self._has_changed(record) for line in self._of(record)
        ]

    def _has_changed(self, record: TrialRecord) -> bool:
        """Whether the record changed since the last call. A report replaces `parts`, so an identity check suffices; it
        must be cheap for thousands of trials."""
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
        # The runner keeps running: a report may be newer than the status, which was read first.
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
    """The received reports as pairs (first replicate, step)."""
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
