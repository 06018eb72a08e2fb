"""Compares several sweeps: their best trials, paired differences between these, and curves on a common axis."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gramtune.analysis.compatibility import NamedSweep, check_comparable
from gramtune.analysis.labels import assignment_text, direction_text, spread_text, status_counts
from gramtune.analysis.paired_difference import paired_difference, ranked
from gramtune.report.figures import plain_settings
from gramtune.report.figures.overlay import common_keys, overlay_figure
from gramtune.report.page.embed import Picture
from gramtune.report.page.page import template
from gramtune.report.text.summary import aligned, paired_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADER = ["sweep", "mean ± std", "n", "trials", "best"]


def comparison_lines(sweeps: Sequence[NamedSweep]) -> list[str]:
    """A table of the best trials, then each best minus the first sweep's. Raises SpecError if not comparable."""
    check_comparable(sweeps)
    rows = aligned([_HEADER, *_rows(sweeps)])
    return [_basis(sweeps), "", *rows, "", *_verdicts(sweeps)]


def comparison_page(sweeps: Sequence[NamedSweep]) -> str:
    """The comparison as an HTML page, with a figure for every key that all sweeps vary."""
    check_comparable(sweeps)
    with plain_settings():
        pictures = [
            Picture(
                key, _uri(overlay_figure(sweeps, key)), f"{sweeps[0].state.plan.metric} against {key}, one line each."
            )
            for key in common_keys(sweeps)
        ]
    return template("comparison.html").render(
        title=" · ".join(sweep.name for sweep in sweeps),
        basis=_basis(sweeps),
        header=_HEADER,
        rows=_rows(sweeps),
        verdicts=_verdicts(sweeps),
        pictures=pictures,
    )


def _basis(sweeps: Sequence[NamedSweep]) -> str:
    state = sweeps[0].state
    samples = state.plan.config.training.eval_samples
    return (
        f"{state.plan.metric} ({direction_text(state)}), mean ± std over n replicates of {samples:,} generated samples"
    )


def _rows(sweeps: Sequence[NamedSweep]) -> list[list[str]]:
    rows = []
    for sweep in sweeps:
        best = next(iter(ranked(sweep.state)), None)
        summary = best.summary(sweep.state.plan.metric) if best else None
        counts = ", ".join(f"{n} {status}" for status, n in status_counts(sweep.state).items())
        choice = assignment_text(best.assignment) if best else _no_best(sweep)
        rows.append([sweep.name, spread_text(summary), str(summary.n if summary else 0), counts, choice])
    return rows


def _no_best(sweep: NamedSweep) -> str:
    return "none completed" if sweep.state.comparable else "none: its trials are not comparable"


def _verdicts(sweeps: Sequence[NamedSweep]) -> list[str]:
    """The paired difference by seed between the best of each sweep and the best of the first."""
    first, *others = sweeps
    lines = []
    for other in others:
        ours, theirs = (next(iter(ranked(sweep.state)), None) for sweep in (first, other))
        said = f"nothing to compare: {_no_best(first if ours is None else other)}"
        if ours and theirs:
            said = paired_text(paired_difference(theirs, ours, first.state.plan.metric, len(others)))
        lines.append(f"best of {other.name} minus best of {first.name}: {said}")
    return [*lines, "Each best was selected by the same values that are compared here: confirm with new seeds."]


def _uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
