"""A varied value against training steps, for population-based training, which changes values during training."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gramtune.analysis.labels import identity, value_text
from gramtune.record.lineage import lineage
from gramtune.record.state import SweepState
from gramtune.report.figures import style

_ALL, _BEST = style.OKABE_ITO[5], style.OKABE_ITO[1]


def schedule_figure(state: SweepState, key: str) -> Figure:
    """Every trial's value of `key` at each step, and the schedule that led to the best trial's weights.

    When a trial inherits from another, its line jumps to its new value. Raises KeyError if `key` does not vary.
    """
    domain = state.plan.sweep.space[key]
    places = {identity(value): float(i) for i, value in enumerate(domain.values or ())}
    figure, axes = style.column_figure(state)
    axes.set_title(f"{state.plan.sweep.name}: a population of {len(state.records)}", fontsize=7, loc="left")
    style.label_x(axes, "training steps")
    axes.yaxis.label.set_text(style.escaped(key))
    if domain.log:
        axes.set_yscale("log")
    for record in state.records.values():
        changes = [(0, record.trial.assignment), *((i.step, i.assignment) for i in record.inherited)]
        points = [(step, values[key]) for step, values in changes if key in values]
        end = record.last.step if record.last else 0
        _draw(figure, points, end, places, _ALL, record.trial.name)
    if best := state.best:
        points = [(s.step, s.assignment[key]) for s in lineage(state, best.trial.name) if key in s.assignment]
        _draw(figure, points, best.last.step if best.last else 0, places, _BEST, "best")
    if places:
        axes.set_yticks(list(places.values()), [style.escaped(value_text(value)) for value in domain.values or ()])
    style.legend(figure, [_handle("a trial", _ALL), *([_handle("history of the best", _BEST)] if best else [])])
    return figure


def _draw(
    figure: Figure, points: list[tuple[int, object]], end: int, places: dict[str, float], colour: str, gid: str
) -> None:
    """A staircase through the points, up to the step `end`."""
    if not points:
        return
    steps = [step for step, _ in points] + [end]
    values = [places[identity(v)] if places else float(str(v)) for _, v in points]
    width = 1.8 if gid == "best" else 0.8
    figure.axes[0].step(steps, [*values, values[-1]], where="post", color=colour, linewidth=width, gid=gid)


def _handle(label: str, colour: str) -> Line2D:
    return Line2D([], [], color=colour, linewidth=1.4, label=label)
