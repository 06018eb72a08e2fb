"""Shows progress in a notebook: one output that is updated while a sweep runs."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from gramtune.analysis.labels import leaves, spread_text, value_text
from gramtune.record.state import SweepState, TrialRecord

_PAUSE = 1.0
"""Seconds between two updates."""
_ROWS = 30


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class NotebookView:
    """Shows the lines and the live table of one run in one output."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._state: SweepState | None = None
        self._handle: Any = None
        warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, where there is no ipywidgets

    def say(self, line: str) -> None:
        """Adds a line to the output."""
        self._lines.append(line)
        self._show()

    @contextmanager
    def watching(self, state: SweepState) -> Iterator[None]:
        """Updates the table until the block ends."""
        self._state = state
        stop = threading.Event()
        thread = threading.Thread(target=self._update, args=(state, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._show()

    def _update(self, state: SweepState, stop: threading.Event) -> None:
        version = -1
        while not stop.wait(_PAUSE):
            if state.version != version:
                version = state.version
                self._show()

    def _show(self) -> None:
        from IPython.display import HTML, display

        content = HTML(page(self._lines, self._state))
        if self._handle is None:
            self._handle = display(content, display_id=True)
        else:
            self._handle.update(content)


def page(lines: list[str], state: SweepState | None) -> str:
    """HTML of the lines and a table of at most 30 trials, chosen by `SweepState.most_current`."""
    text = f"<pre>{escape(chr(10).join(lines))}</pre>"
    if state is None:
        return text
    records = list(state.records.values())
    keys, metric = leaves(state.plan.sweep.space), state.plan.metric
    heads = [*keys.values(), "step", metric, "status"]
    rows = [
        [*(value_text(record.trial.assignment.get(key, "")) for key in keys), *_progress(record, metric)]
        for record in state.most_current(_ROWS)
    ]
    finished = sum(record.status.final for record in records)
    table = _row(heads, "th") + "".join(_row(row, "td") for row in rows)
    return f"{text}<p>{finished} of {state.plan.size} trials finished</p><table>{table}</table>"


def _progress(record: TrialRecord, metric: str) -> list[str]:
    steps = record.trial.config.training.steps
    return [f"{record.step}/{steps}", spread_text(record.summary(metric)), record.status.value]


def _row(cells: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
