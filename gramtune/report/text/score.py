"""Formats sensitivity scores as cells of a table."""

from __future__ import annotations

from gramtune.analysis.labels import decimals_for, number, percent
from gramtune.analysis.robustness import Robustness
from gramtune.analysis.sensitivity_score import Estimate


def score_cells(row: Robustness) -> dict[str, object]:
    """The cells of a score in the page's table; shares are in per cent, with intervals."""
    cells: dict[str, object] = {
        "key": row.key,
        "method": row.method,
        "range": row.range,
        "lost": row.lost,
        "why": row.why,
        "seeds": row.seeds,
    }
    if row.score is not None:
        cells["best"] = _best(row.score.best)
        cells["own"] = [_share(share) for share in row.score.shares]
        cells["of_all"] = [_share(share) for share in row.of_all]
    return cells


def _share(share: Estimate) -> str:
    """A share with its interval: `41 % (12 to 55)`."""
    if share.interval is None:
        return f"{percent(share.value)} (one seed: no interval)"
    low, high = share.interval
    return f"{percent(share.value)} ({100 * low:.0f} to {100 * high:.0f})"


def _best(best: Estimate) -> str:
    if best.interval is None:
        return number(best.value)
    low, high = best.interval
    decimals = decimals_for((high - low) / 4)
    return f"{number(best.value, decimals)} ({number(low, decimals)} to {number(high, decimals)})"
