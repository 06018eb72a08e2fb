"""Writes verdicts in words. Every sentence is a claim proved in docs/verdict.md or is marked as an estimate."""

from __future__ import annotations

import math
from collections.abc import Callable

from gramtune.analysis.key_verdicts import KeyVerdict
from gramtune.analysis.labels import count, direction_text, leaves, percent
from gramtune.analysis.method_comparison import Comparison
from gramtune.analysis.verdict import ALPHA, Finding, Verdict
from gramtune.record.state import SweepState

_SHOWN = 12
"""Most values named in a sentence; for more, the first 12 and their number."""


def verdict_text(row: KeyVerdict, state: SweepState) -> list[str]:
    """The lines on one method and one key: the verdict, its meaning, and the values that may be the best."""
    name = leaves(state.plan.sweep.space)[row.key]
    subject = f"{name} ({row.method})" if row.method else name
    if row.finding is None:
        return [f"Verdict on {subject}: none, because {row.why}."]
    best = row.finding.may_be_best
    worse, alpha = len(row.values) - len(best), percent(ALPHA)
    rest = {0: "no value is shown to be worse", 1: "the other is worse"}.get(worse, "all others are worse")
    return [
        f"Verdict on {subject}: {_headline(row, row.finding, name, state.plan.sweep.tolerance)}",
        f"  {_named(row, best, name)} may be the best; {rest} (probability of any error ≤ {alpha}).",
        f"  {_replicates(row)}, geometric means of {state.plan.metric}, "
        f"{direction_text(state)}; assumptions: docs/verdict.md.",
    ]


def _replicates(row: KeyVerdict) -> str:
    """The replicates: `3 replicates of each value`, or `3 to 8 replicates of a value, 25 in all`."""
    known = [n for n in row.replicates if n]
    if len(set(known)) == 1:
        return f"{count(known[0], 'replicate')} of each value" + (" with a result" if 0 in row.replicates else "")
    return f"{min(known)} to {max(known)} replicates of a value, {sum(known)} in all"


def _headline(row: KeyVerdict, finding: Finding, name: str, tolerance: float) -> str:
    limit = f"{100 * tolerance:g} %"
    when = f"decided at {count(finding.look, 'replicate')}, wrong with probability ≤ {percent(ALPHA)}"
    if finding.verdict == Verdict.INSENSITIVE:
        return f"INSENSITIVE: every value tried is within {limit} of the best ({when})."
    if finding.verdict == Verdict.SENSITIVE:
        return f"SENSITIVE: {_worst(row, finding, name)}, more than {limit} ({when})."
    return f"UNDECIDED within {limit}: {_missing(row, finding, name)}."


def _worst(row: KeyVerdict, finding: Finding, name: str) -> str:
    worst = max(range(len(row.values)), key=lambda i: (finding.low[i], len(row.diverged[i])))
    if math.isinf(finding.low[worst]):
        return f"{name} = {row.values[worst]} diverges more often than the others ({row.diverged[worst]})"
    least = math.floor(100 * math.expm1(finding.low[worst]))  # rounded up, it would claim more than is shown
    return f"{name} = {row.values[worst]} is worse than the best by at least {least} %"


def _missing(row: KeyVerdict, finding: Finding, name: str) -> str:
    if lost := [f"{row.values[i]} ({why})" for i, why in enumerate(row.diverged) if why]:
        return f"it cannot be INSENSITIVE, because a replicate diverged at {name} = {', '.join(lost)}"
    if lost := [value for value, n in zip(row.values, row.replicates, strict=True) if not n]:
        return f"it cannot be INSENSITIVE, because {name} = {', '.join(lost)} was pruned, paused or failed"
    words = f"{_named(row, finding.open, name)} is open"
    if finding.more is None:
        return f"{words}; more than 400 replicates seem to be needed"
    more = count(finding.more, "more replicate")
    return f"{words}; about {more} of each would decide, if means and spreads stay the same"


def _named(row: KeyVerdict, indices: tuple[int, ...], name: str) -> str:
    """The values in words: `critic_dim = 4` or `critic_dim ∈ {4, 16}`."""
    texts = [row.values[i] for i in indices]
    if len(texts) == 1:
        return f"{name} = {texts[0]}"
    more = f", … {len(texts)} values" if len(texts) > _SHOWN else ""
    return f"{name} ∈ {{{', '.join(texts[:_SHOWN])}{more}}}"


def comparison_text(row: Comparison, state: SweepState) -> list[str]:
    """The lines on two methods and one key: which is less sensitive, and the losses of their worst values."""
    name, (low, high) = leaves(state.plan.sweep.space)[row.key], row.interval
    first, second = row.methods
    said = "neither is shown to be less sensitive"
    if low > 0:
        said = f"{first} is less sensitive, by a factor of {_factor(low, high)} in the worst value's loss"
    elif high < 0:
        said = f"{second} is less sensitive, by a factor of {_factor(-high, -low)} in the worst value's loss"
    each = ", ".join(f"{method} {_percent(*worst)}" for method, worst in zip(row.methods, row.worst, strict=True))
    return [
        f"{first} against {second} along {name}: {said}.",
        f"  The worst value is above the best by: {each} (probability of any error ≤ {percent(ALPHA)}).",
    ]


def _factor(low: float, high: float) -> str:
    least = _outwards(math.exp(low), math.floor)
    return f"{least} to {_outwards(math.exp(high), math.ceil)}" if math.isfinite(high) else f"at least {least}"


def _outwards(factor: float, towards: Callable[[float], int]) -> str:
    """Three significant digits of a bound above 1, rounded so that no more is claimed than is shown."""
    scale = 10 ** (2 - math.floor(math.log10(factor)))
    return f"{towards(factor * scale) / scale:g}"


def _percent(low: float, high: float) -> str:
    if math.isinf(low):
        return "more than any number (it diverges)"
    least = math.floor(100 * math.expm1(low))  # outwards: rounded inwards, the bounds would claim more than is shown
    return f"{least} to {math.ceil(100 * math.expm1(high))} %" if math.isfinite(high) else f"at least {least} %"
