"""The primary metric against training steps, one line per trial."""

from __future__ import annotations

from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gramtune.report import style
from gramtune.report.labels import assignment_text, value_text
from gramtune.sweep.state import Summary, SweepState, TrialRecord, summarise

_MAX_NAMED = 12
"""Trials that the legend names; beyond, a colour bar tells the value of the key."""
_LINES = ("-", "--", ":", "-.")
_VIRIDIS = ListedColormap([colormaps["viridis"](i / 255) for i in range(225)])
"""Without its light end, which does not show on white."""


def learning_curves(state: SweepState) -> Figure:
    """Mean ± std of the primary metric at each evaluation, coloured by the first varied key where it is a number.

    A line ends, with a symbol, where a replicate diverges: the mean of the survivors would be another quantity.
    """
    figure, axes = style.column_figure(state)
    style.label_x(axes, "training steps")
    colours = _Colours(state)
    drawn = [value for record in state.records.values() for value in _draw(axes, record, state.plan.metric, colours)]
    style.scale_y(axes, drawn)
    if not drawn:
        style.say_empty(axes)
    lost = _lost_handles(state)
    if len(state.records) <= _MAX_NAMED:
        _name_lines(figure, state, colours, lost)
    else:
        style.legend(figure, lost)
        if colours.bar is not None:
            style.colour_bar(figure, axes, colours.bar, colours.key)
    return figure


class _Colours:
    """Colour and dashes of each trial: the value of the first varied key where it is a number, else its position."""

    def __init__(self, state: SweepState) -> None:
        self.key = next(iter(state.plan.sweep.space))
        values, trials = state.values(self.key), [record.trial for record in state.records.values()]
        self.bar: ScalarMappable | None = None
        if style.numeric(values) and len(values) > 1:
            scale = LogNorm if style.spans(values, 1) else Normalize
            self.bar = ScalarMappable(scale(min(values), max(values)), _VIRIDIS)
        self._positions = {trial.name: i for i, trial in enumerate(trials)}
        others = [value_text({k: v for k, v in t.assignment.items() if k != self.key}) for t in trials]
        distinct = list(dict.fromkeys(others))
        self._dashes = {t.name: _LINES[distinct.index(o) % 4] for t, o in zip(trials, others, strict=True)}

    def look(self, record: TrialRecord) -> dict[str, Any]:
        """Keyword arguments of a line."""
        name = record.trial.name
        if self.bar is None or self.key not in record.trial.assignment:
            return {"color": style.OKABE_ITO[self._positions[name] % len(style.OKABE_ITO)], "linestyle": "-"}
        return {"color": self.bar.to_rgba(record.trial.assignment[self.key]), "linestyle": self._dashes[name]}


def _draw(axes: Axes, record: TrialRecord, metric: str, colours: _Colours) -> list[float]:
    """Draws one trial; returns its means, for the scale."""
    points = _points(record, metric)
    if not points:
        return []
    look = colours.look(record)
    steps, means = [step for step, _ in points], [summary.mean for _, summary in points]
    axes.plot(steps, means, marker=".", markersize=3, linewidth=1.1, gid=record.trial.name, **look)
    spread = [summary.std or 0.0 for _, summary in points]
    low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
    axes.fill_between(steps, low, high, color=look["color"], alpha=0.12, linewidth=0)
    if record.status in style.LOST:
        style.mark_end(axes, record.status, steps[-1], means[-1], look["color"])
    return means


def _points(record: TrialRecord, metric: str) -> list[tuple[int, Summary]]:
    """Evaluations at which every replicate has a value."""
    total = record.trial.config.training.replicates
    summaries = [(step, summarise(report.metrics.get(metric, []))) for step, report in sorted(record.reports.items())]
    return [(step, summary) for step, summary in summaries if summary and summary.n == total]


def _lost_handles(state: SweepState) -> list[Line2D]:
    ended = {record.status for record in state.records.values() if _points(record, state.plan.metric)}
    return [style.lost_handle(status, "black") for status in style.LOST if status in ended]


def _name_lines(figure: Figure, state: SweepState, colours: _Colours, lost: list[Line2D]) -> None:
    """A legend of all trials that have a line: values alone, under the key, where only one key varies."""
    shown = [record for record in state.records.values() if _points(record, state.plan.metric)]
    single = len(state.plan.sweep.space) == 1
    names = [
        value_text(record.trial.assignment[colours.key]) if single else assignment_text(record.trial.assignment)
        for record in shown
    ]
    lines = [
        Line2D([], [], linewidth=1.4, label=style.escaped(name), **colours.look(record))
        for name, record in zip(names, shown, strict=True)
    ]
    columns = 5 if max(map(len, names), default=0) < 8 else 2
    style.legend(figure, [*lines, *lost], title=colours.key if single and lines else None, columns=columns)
