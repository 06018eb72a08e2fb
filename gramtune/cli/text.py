"""How spreads and times are written on the terminal; numbers as in figures and summary."""

from __future__ import annotations

from gramtune.report.labels import spread_text
from gramtune.sweep.state import Summary


def spread(summary: Summary | None) -> str:
    """`24.85 ± 0.94 (n=3)`; a dash where there is no value."""
    return spread_text(summary) + (f" (n={summary.n})" if summary else "")


def size(number: int) -> str:
    """`480 MB` or `1.9 GB`."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
