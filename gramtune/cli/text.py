"""Formats spreads, times and sizes for the terminal; numbers look as in figures and summary."""

from __future__ import annotations

from gramtune.analysis.labels import duration, spread_text
from gramtune.record.report import Summary

__all__ = ["duration", "size", "spread"]


def spread(summary: Summary | None) -> str:
    """Mean and spread, `24.85 ± 0.94 (n=3)`; a dash without a value."""
    return spread_text(summary) + (f" (n={summary.n})" if summary else "")


def size(number: int) -> str:
    """A size in bytes as `480 MB` or `1.9 GB`."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
