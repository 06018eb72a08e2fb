r"""Writes the result of a sweep as a LaTeX table for a paper; the table needs `\usepackage{booktabs}`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gramtune.analysis.key_verdicts import verdicts
from gramtune.analysis.labels import MINUS, basis_text, direction_text, leaves, spread_text, value_text
from gramtune.record.report import Status
from gramtune.record.state import SweepState, TrialRecord
from gramtune.report.text.verdict_text import verdict_text

_SPECIAL = str.maketrans(
    {character: rf"\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"}
    | {"∈": r"$\in$", "≤": r"$\leq$", "…": r"\dots{}", "<": r"\textless{}", ">": r"\textgreater{}"}
)
_EXPONENT = re.compile(r"e([+-]?)0*(\d+)")


def latex_table(state: SweepState) -> str:
    r"""A booktabs table: one row per configuration, its varied values, then mean ± std of every metric.

    The best completed mean of the primary metric is bold. A trial that has not completed shows its status instead of
    numbers, so that partial values are not taken for results. LaTeX's special characters are escaped.
    """
    keys, metrics = leaves(state.plan.sweep.space), _metrics(state)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(state)}}}",
        rf"\label{{tab:{state.plan.sweep.name}}}",
        rf"\begin{{tabular}}{{{'l' * len(keys)}{'r' * len(metrics)}}}",
        r"\toprule",
        _row([*map(escaped, keys.values()), *map(escaped, metrics)]),
        r"\midrule",
        *(_row(_cells(record, state, metrics)) for record in state.records.values()),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Escapes LaTeX's special characters."""
    return text.translate(_SPECIAL)


def _metrics(state: SweepState) -> list[str]:
    """The primary metric, then all other computed metrics."""
    return sorted(state.plan.config.directions, key=lambda name: name != state.plan.metric)


def _caption(state: SweepState) -> str:
    sweep = state.plan.sweep
    about = f"{sweep.name}: {sweep.about}".removesuffix(": ")
    basis = f"Mean $\\pm$ standard deviation; {escaped(basis_text(state))}."
    metric = f"{escaped(state.plan.metric)}: {direction_text(state)}; the best is bold."
    return f"{escaped(about)} {basis} {metric}{_verdicts(state)}"


def _verdicts(state: SweepState) -> str:
    """The verdicts, one sentence per key; empty without verdicts."""
    return "".join(f" {escaped(verdict_text(row, state)[0])}" for row in verdicts(state) if row.finding)


def _cells(record: TrialRecord, state: SweepState, metrics: Sequence[str]) -> list[str]:
    assignment = record.assignment
    values = [escaped(value_text(assignment[key])) if key in assignment else "--" for key in state.plan.sweep.space]
    if record.status != Status.COMPLETED:
        return [*values, record.status.lower(), *["--"] * (len(metrics) - 1)]
    numbers = [_number(spread_text(record.summary(metric))) for metric in metrics]
    if record is state.best:
        numbers[0] = rf"{{\boldmath {numbers[0]}}}"
    return values + numbers


def _number(text: str) -> str:
    r"""`24.85 ± 0.94` as `$24.85 \pm 0.94$`."""
    if text == "–":
        return "--"
    plain = text.replace(MINUS, "-").replace("±", r"\pm")
    return f"${_EXPONENT.sub(_power, plain)}$"


def _power(exponent: re.Match[str]) -> str:
    return rf"\cdot 10^{{{exponent[1].removeprefix('+')}{exponent[2]}}}"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
