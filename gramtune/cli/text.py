"""How numbers and times are written for people."""

from __future__ import annotations

from gramtune.sweep.state import Summary


def number(value: float) -> str:
    """Four significant digits, without an exponent where a person would not use one."""
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.3e}"


def spread(summary: Summary | None) -> str:
    """`24.85 ± 0.94 (n=3)`; a dash where there is no value."""
    if summary is None:
        return "–"
    std = "" if summary.std is None else f" ± {summary.std:.2g}" if summary.std < 100 else f" ± {summary.std:.0f}"
    return f"{number(summary.mean)}{std} (n={summary.n})"


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
