"""How values, configurations and spreads are written for people; figures and summary say them alike."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gramtune.errors import count as count
from gramtune.record.report import Status, Summary
from gramtune.record.state import SweepState
from gramtune.space.sweep import Judge

MINUS = "−"
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_LONGEST = 1e7
"""Numbers from here on are written with an exponent, whatever their decimals."""


def leaves(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted key, or the whole key where last parts coincide; a name with cases as it is."""
    keys = list(keys)
    last = {key: key.rsplit(".", 1)[-1] if _PATH.fullmatch(key) else key for key in keys}
    return last if len(set(last.values())) == len(keys) else {key: key for key in keys}


def value_text(value: Any) -> str:
    """16, 0.001, gram, true; lists and mappings as JSON; a sampled number to four significant digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else f"{value:.4g}"
    return identity(value)


def identity(value: Any) -> str:
    """A text that only equal values share, for grouping."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def assignment_text(assignment: Mapping[str, Any]) -> str:
    """`critic_dim = 16, ridge = 0.001`."""
    names = leaves(assignment)
    return ", ".join(f"{names[key]} = {value_text(value)}" for key, value in assignment.items())


def number(value: float, decimals: int | None = None) -> str:
    """With so many decimals, or with four significant digits; a true minus sign."""
    text = f"{value:.4g}" if decimals is None or abs(value) >= _LONGEST else f"{value:.{decimals}f}"
    return text.replace("-", MINUS)


def decimals_for(scale: float) -> int | None:
    """Decimals that show two digits of `scale`; None, for `number`, where that takes more than six or there is none."""
    if not math.isfinite(scale) or scale <= 0:
        return None
    needed = 1 - math.floor(math.log10(scale))
    return None if needed > 6 else max(0, needed)


def spread_text(summary: Summary | None) -> str:
    """`24.85 ± 0.94`: mean and standard deviation over replicates, both to two digits of the latter."""
    if summary is None:
        return "–"
    if summary.std is None:
        return number(summary.mean)
    decimals = decimals_for(summary.std)
    if decimals is None or abs(summary.mean) >= _LONGEST:
        return f"{number(summary.mean)} ± {summary.std:.2g}".replace("-", MINUS)
    return f"{number(summary.mean, decimals)} ± {number(summary.std, decimals)}"


def percent(share: float, decimals: int = 0) -> str:
    """`12 %`: a share in per cent."""
    return f"{100 * share:.{decimals}f} %"


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def direction_text(state: SweepState, metric: str | None = None) -> str:
    """`lower is better` or `higher is better`, of the primary metric if no other is given."""
    minimised = state.plan.config.directions[metric or state.plan.metric] == "min"
    return "lower is better" if minimised else "higher is better"


def basis_text(state: SweepState) -> str:
    """How many replicates and generated samples stand behind each value."""
    configs = [record.trial.config.training for record in state.records.values()] or [state.plan.config.training]
    replicates, samples = {c.replicates for c in configs}, {c.eval_samples for c in configs}
    plural = "" if replicates == {1} else "s"
    text = f"n = {_range(replicates)} replicate{plural}, {_range(samples)} generated samples each"
    return ", ".join([text, *filter(None, [judge_text(state.plan.sweep.judge)])])


def judge_text(judge: Judge) -> str:
    """Which values of a trial count; empty for the last ones."""
    if isinstance(judge, Mapping):
        return f"mean of the last {judge['mean_of_last']} evaluations"
    return "best checkpoint, on fresh samples" if judge == "best" else ""


def status_counts(state: SweepState) -> dict[Status, int]:
    """Trials by status, in the order of `Status`, without zeros."""
    statuses = [record.status for record in state.records.values()]
    return {status: statuses.count(status) for status in Status if status in statuses}


def _range(values: set[int]) -> str:
    return f"{min(values):,}" if len(values) == 1 else f"{min(values):,} to {max(values):,}"
