"""The primary metric against training steps, one line per trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gramtune.analysis.labels import assignment_text, identity, leaves, value_text
from gramtune.analysis.series import numeric, spans
from gramtune.record.report import Summary, summarise
from gramtune.record.state import SweepState, TrialRecord
from gramtune.report.figures import style

_MAX_NAMED = 12
"""Most trials that the legend names; with more, a colour bar shows the value of the key."""
_LONGEST = 72
"""Most characters of a trial's name that fit below the axes."""
_LINES = ("-", "--", ":", "-.")
_VIRIDIS = ListedColormap([colormaps["viridis"](i / 255) for i in range(225)])
"""Viridis without its light end, which is hard to see on white."""


def learning_curves(state: SweepState) -> Figure:
    """Mean ± std of the primary metric at each evaluation, coloured by the first varied key.

    A line ends with a symbol where a replicate diverges: the mean of the remaining replicates is not comparable.
    """
    figure, axes = style.column_figure(state)
    style.label_x(axes, "training steps")
    colours = _Colours(state)
    curves = [curve for record in state.records.values() if (curve := _curve(record, state.plan.metric, colours))]
    # One artist for all bands: each `fill_between` would iterate over everything already drawn.
    bands = PolyCollection(
        [curve.band for curve in curves],
        facecolors=[curve.look["color"] for curve in curves],
        alpha=0.12,
        linewidths=0,
    )
    axes.add_collection(bands)
    for curve in curves:
        _draw(axes, curve)
    drawn = [mean for curve in curves for mean in curve.means]
    style.scale_y(axes, drawn)
    if not drawn:
        style.say_empty(axes)
    lost = _lost_handles(state)
    if colours.named:
        _name_lines(figure, state, colours, lost)
    else:
        style.legend(figure, [*colours.handles, *lost])
        if colours.bar is not None:
            style.colour_bar(figure, axes, colours.bar, colours.key)
    return figure


class _Colours:
    """Colour and dashes of each trial.

    The colour shows the value of the first varied key, with a colour bar for numbers. The dashes show the other keys,
    if they have few enough combinations. If there are too few colours, each trial has its own colour.
    """

    def __init__(self, state: SweepState) -> None:
        self.key = next(iter(state.plan.sweep.space))
        domain, values = state.plan.sweep.space[self.key], state.values_of_key(self.key)
        trials = [record.trial for record in state.records.values()]
        self.bar: ScalarMappable | None = None
        if numeric(values) and len(values) > 1:
            log = domain.log if domain.values is None else spans(values, 1)
            self.bar = ScalarMappable((LogNorm if log else Normalize)(min(values), max(values)), _VIRIDIS)
        others = [identity({k: v for k, v in t.assignment.items() if k != self.key}) for t in trials]
        distinct = list(dict.fromkeys(others))
        lines = _LINES if len(distinct) <= len(_LINES) else _LINES[:1]
        self._dashes = {t.name: lines[distinct.index(o) % len(lines)] for t, o in zip(trials, others, strict=True)}
        keys = list(state.plan.sweep.space)[1:]
        self._others: dict[Any, str] = (
            {}
            if len(distinct) < 2 or len(distinct) > len(_LINES)
            else {
                self._dashes[t.name]: assignment_text({k: v for k, v in t.assignment.items() if k != self.key})
                or f"without {', '.join(leaves(keys).values())}"
                for t in trials
            }
        )
        self._positions = {trial.name: i for i, trial in enumerate(trials)}
        longest = max((len(assignment_text(trial.assignment)) for trial in trials), default=0)
        self.named = len(trials) <= _MAX_NAMED and longest <= _LONGEST
        enough = len(values) <= len(style.OKABE_ITO) and (len(distinct) <= len(_LINES) or not self.named)
        self._categories = list(map(identity, values)) if self.bar is None and len(values) > 1 and enough else []
        self._texts = list(map(value_text, values))

    def look(self, record: TrialRecord) -> dict[str, Any]:
        """Keyword arguments of a line."""
        name, assignment = record.trial.name, record.trial.assignment
        if self.bar is not None and self.key in assignment:
            return {"color": self.bar.to_rgba(assignment[self.key]), "linestyle": self._dashes[name]}
        if self._categories and self.key in assignment:
            index = self._categories.index(identity(assignment[self.key]))
            return {"color": style.OKABE_ITO[index], "linestyle": self._dashes[name]}
        position, colours = self._positions[name], len(style.OKABE_ITO)
        linestyle = _LINES[position // colours % len(_LINES)]
        return {"color": style.OKABE_ITO[position % colours], "linestyle": linestyle}

    @property
    def handles(self) -> list[Line2D]:
        """The legend's entries: the first key's colours, unless a colour bar shows them; the other keys' dashes."""
        colours = [
            Line2D([], [], linewidth=1.4, color=style.OKABE_ITO[i], label=style.escaped(self._texts[i]))
            for i in range(len(self._categories))
        ]
        if self.bar is None and not self._categories:
            return []
        return colours + [
            Line2D([], [], linewidth=1.1, color="0.25", linestyle=line, label=style.escaped(text))
            for line, text in self._others.items()
        ]


@dataclass(frozen=True)
class _Curve:
    """One trial, ready to be drawn."""

    record: TrialRecord
    look: dict[str, Any]
    steps: list[int]
    means: list[float]
    band: list[tuple[float, float]]
    """Corners of the band mean ± std: along its lower edge and back along the upper one."""


def _curve(record: TrialRecord, metric: str, colours: _Colours) -> _Curve | None:
    """The curve of a trial; None for a trial without a value."""
    if not (points := _points(record, metric)):
        return None
    low = [(float(step), summary.mean - (summary.std or 0.0)) for step, summary in points]
    high = [(float(step), summary.mean + (summary.std or 0.0)) for step, summary in points]
    steps, means = [step for step, _ in points], [summary.mean for _, summary in points]
    return _Curve(record, colours.look(record), steps, means, low + high[::-1])


def _draw(axes: Axes, curve: _Curve) -> None:
    name, status = curve.record.trial.name, curve.record.status
    axes.plot(curve.steps, curve.means, marker=".", markersize=3, linewidth=1.1, gid=name, **curve.look)
    if status in style.LOST:
        style.mark_end(axes, status, curve.steps[-1], curve.means[-1], curve.look["color"])


def _points(record: TrialRecord, metric: str) -> list[tuple[int, Summary]]:
    """Evaluations at which every replicate has a value."""
    total = record.trial.config.training.replicates
    summaries = [(step, summarise(report.metrics.get(metric, []))) for step, report in sorted(record.reports.items())]
    return [(step, summary) for step, summary in summaries if summary and summary.n == total]


def _lost_handles(state: SweepState) -> list[Line2D]:
    ended = {record.status for record in state.records.values() if _points(record, state.plan.metric)}
    return [style.lost_handle(status, "black") for status in style.LOST if status in ended]


def _name_lines(figure: Figure, state: SweepState, colours: _Colours, lost: list[Line2D]) -> None:
    """Adds a legend of all trials with a line. If only one key varies, its entries are the values, under the key."""
    shown = [record for record in state.records.values() if _points(record, state.plan.metric)]
    single = len(state.plan.sweep.space) == 1
    names = [
        value_text(record.trial.assignment.get(colours.key, "–"))
        if single
        else assignment_text(record.trial.assignment)
        for record in shown
    ]
    lines = [
        Line2D([], [], linewidth=1.4, label=style.escaped(name), **colours.look(record))
        for name, record in zip(names, shown, strict=True)
    ]
    longest = max(map(len, names), default=0)
    columns = 5 if longest < 8 else 2 if longest < 32 else 1
    style.legend(figure, [*lines, *lost], title=colours.key if single and lines else None, columns=columns)
