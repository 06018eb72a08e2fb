"""Formats values, configurations and spreads as text, the same in figures and summary."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gramtune.errors import count as count
from gramtune.record.report import Status, Summary
from gramtune.record.state import SweepState
from gramtune.space.judge import Judge

MINUS = "−"
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_LONGEST = 1e7
"""Numbers of at least this size are written with an exponent."""


def leaves(keys: Iterable[str]) -> dict[str, str]:
    """A label per key: its last dotted part, or the whole key if last parts coincide; names of cases unchanged."""
    keys = list(keys)
    last = {key: key.rsplit(".", 1)[-1] if _PATH.fullmatch(key) else key for key in keys}
    return last if len(set(last.values())) == len(keys) else {key: key for key in keys}


def value_text(value: Any) -> str:
    """A value as text: 16, 0.001, gram, true; lists and mappings as JSON; numbers to four significant digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else f"{value:.4g}"
    return identity(value)


def identity(value: Any) -> str:
    """A text that is equal exactly for equal values, for grouping."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def assignment_text(assignment: Mapping[str, Any]) -> str:
    """The values as text: `critic_dim = 16, ridge = 0.001`."""
    names = leaves(assignment)
    return ", ".join(f"{names[key]} = {value_text(value)}" for key, value in assignment.items())


def number(value: float, decimals: int | None = None) -> str:
    """A number with this many decimals, or with four significant digits; with a typographic minus sign."""
    text = f"{value:.4g}" if decimals is None or abs(value) >= _LONGEST else f"{value:.{decimals}f}"
    return text.replace("-", MINUS)


def decimals_for(scale: float) -> int | None:
    """Number of decimals that show two digits of `scale`; None if that takes more than six or `scale` has no digits."""
    if not math.isfinite(scale) or scale <= 0:
        return None
    needed = 1 - math.floor(math.log10(scale))
    return None if needed > 6 else max(0, needed)


def spread_text(summary: Summary | None) -> str:
    """Mean ± standard deviation over replicates, `24.85 ± 0.94`, both to two digits of the standard deviation."""
    if summary is None:
        return "–"
    if summary.std is None:
        return number(summary.mean)
    decimals = decimals_for(summary.std)
    if decimals is None or abs(summary.mean) >= _LONGEST:
        return f"{number(summary.mean)} ± {summary.std:.2g}".replace("-", MINUS)
    return f"{number(summary.mean, decimals)} ± {number(summary.std, decimals)}"


def joined(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def percent(share: float, decimals: int = 0) -> str:
    """A share in per cent: `12 %`."""
    return f"{100 * share:.{decimals}f} %"


def duration(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def direction_text(state: SweepState, metric: str | None = None) -> str:
    """`lower is better` or `higher is better`, for the given metric or the primary one."""
    minimised = state.plan.config.directions[metric or state.plan.metric] == "min"
    return "lower is better" if minimised else "higher is better"


def basis_text(state: SweepState) -> str:
    """The numbers of replicates and of generated samples behind each value, in words."""
    configs = [record.trial.config.training for record in state.records.values()] or [state.plan.config.training]
    replicates, samples = {c.replicates for c in configs}, {c.eval_samples for c in configs}
    plural = "" if replicates == {1} else "s"
    text = f"n = {_range(replicates)} replicate{plural}, {_range(samples)} generated samples each"
    return ", ".join([text, *filter(None, [judge_text(state.plan.sweep.judge)])])


def judge_text(judge: Judge) -> str:
    """Which values of a trial count, in words; empty for the last ones."""
    if isinstance(judge, Mapping):
        return f"mean of the last {judge['mean_of_last']} evaluations"
    return "best checkpoint, on new samples" if judge == "best" else ""


def status_counts(state: SweepState) -> dict[Status, int]:
    """Trials by status, in the order of `Status`, without zeros."""
    statuses = [record.status for record in state.records.values()]
    return {status: statuses.count(status) for status in Status if status in statuses}


def _range(values: set[int]) -> str:
    return f"{min(values):,}" if len(values) == 1 else f"{min(values):,} to {max(values):,}"
