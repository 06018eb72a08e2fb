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

from gramtune.cli.text import duration, spread
from gramtune.sweep.state import Status, SweepState, TrialRecord

_COLOURS = {
    Status.PENDING: "dim",
    Status.RUNNING: "cyan",
    Status.COMPLETED: "green",
    Status.PRUNED: "yellow",
    Status.DIVERGED: "magenta",
    Status.FAILED: "red",
}


@contextmanager
def watching(state: SweepState, console: Console) -> Iterator[None]:
    """Shows the state until the block ends."""
    started = time.monotonic()
    if console.is_terminal:
        with Live(get_renderable=lambda: _view(state, console.height, started), console=console, refresh_per_second=2):
            yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_print_lines, args=(state, console, stop, started), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _view(state: SweepState, height: int, started: float) -> Group:
    return Group(table(state, height - 4), Text(_caption(state, started), style="italic"))


def table(state: SweepState, rows: int) -> Table:
    """One row per trial: its values, progress, metric, status, time left; the newest where not all fit in `rows`."""
    keys = list(state.plan.sweep.space)
    result = Table(box=None, pad_edge=False)
    for key in keys:
        result.add_column(key.rsplit(".", 1)[-1], justify="right")
    for heading in ("progress", "", f"{state.plan.metric} (mean ± std)", "status", "left"):
        result.add_column(heading)
    for record in _visible(list(state.records.values()), rows):
        total = record.trial.config.training.steps
        step = record.last.step if record.last else 0
        result.add_row(
            *(str(record.trial.assignment.get(key, "")) for key in keys),
            ProgressBar(total=total, completed=step, width=16),
            f"{step}/{total}",
            spread(record.summary(state.plan.metric)),
            f"[{_COLOURS[record.status]}]{record.status}[/]",
            _left(record),
        )
    return result


def _visible(records: list[TrialRecord], rows: int) -> list[TrialRecord]:
    if len(records) <= rows:
        return records
    order = [r for r in records if r.status == Status.RUNNING] + [r for r in reversed(records) if r.status.final]
    return [r for r in records if r in order[: max(rows, 1)]]


def _left(record: TrialRecord) -> str:
    if record.status != Status.RUNNING or not record.last or not record.last.step:
        return ""
    total = record.trial.config.training.steps
    return duration(record.last.seconds * (total - record.last.step) / record.last.step)


def _caption(state: SweepState, started: float) -> str:
    records = list(state.records.values())
    done = sum(_fraction(record) for record in records) / len(records)
    elapsed = time.monotonic() - started
    left = f", about {duration(elapsed * (1 - done) / done)} left" if 0.02 < done < 1 else ""
    best = state.best
    leader = f"; best so far {best.trial.name}: {spread(best.summary(state.plan.metric))}" if best else ""
    finished = sum(record.status.final for record in records)
    return f"{finished} of {len(records)} trials finished, {duration(elapsed)} elapsed{left}{leader}"


def _fraction(record: TrialRecord) -> float:
    if record.status.final:
        return 1.0
    return record.last.step / record.trial.config.training.steps if record.last else 0.0


def _print_lines(state: SweepState, console: Console, stop: threading.Event, started: float) -> None:
    """One line per evaluation and per change of status, as they come."""
    version = -1
    shown: dict[str, tuple[Status, int]] = {}
    while True:
        last_round = stop.is_set()
        version = state.wait(version, timeout=0.0 if last_round else 0.5)
        for name, record in state.records.items():
            now = (record.status, record.last.step if record.last else -1)
            if now != shown.get(name, (Status.PENDING, -1)):
                shown[name] = now
                console.print(
                    f"{duration(time.monotonic() - started):>7}  {_line(record, state)}",
                    highlight=False,
                    soft_wrap=True,
                )
        if last_round:
            return


def _line(record: TrialRecord, state: SweepState) -> str:
    total = record.trial.config.training.steps
    progress = f"step {record.last.step}/{total}  " if record.last else ""
    value = f"{state.plan.metric} {spread(record.summary(state.plan.metric))}  " if record.last else ""
    return f"{record.trial.name}  {progress}{value}{record.status}  {record.reason}".rstrip()
