"""The table of trials with what the verdicts say of each trial's values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gramtune.analysis.key_verdicts import KeyVerdict, verdicts
from gramtune.analysis.labels import leaves
from gramtune.analysis.robustness import no_axis
from gramtune.record.state import SweepState
from gramtune.record.tables import trials_frame

if TYPE_CHECKING:
    import pandas as pd

_TYPES = {
    **{"verdict": "str", "may_be_best": "boolean"},
    **{"worse_by_at_least": "Float64", "worse_by_at_most": "Float64"},
}


def trial_table(state: SweepState) -> pd.DataFrame:
    """`trials_frame` with four columns per varied key that a verdict can be on, such as `verdict.critic_dim`.

    `verdict`: that of the trial's method along the key. `may_be_best`: whether the trial's value may be the best one.
    `worse_by_at_least` and `worse_by_at_most`: bounds of how much worse than the best one it is, 0.1 for 10 %; infinite
    where the value diverges, or where nothing bounds it. Null where there is no verdict.
    """
    import pandas as pd

    frame, space = trials_frame(state), state.plan.sweep.space
    if len(state.plan.metrics) > 1 or no_axis(state):
        return frame
    names = leaves(space)
    cells: dict[str, dict[str, dict[str, Any]]] = {key: {} for key, domain in space.items() if not domain.cases}
    for row in verdicts(state):
        cells[row.key] |= _cells(row)
    for key, by_trial in cells.items():
        for column, dtype in _TYPES.items():
            values = [by_trial.get(trial, {}).get(column) for trial in frame["trial"]]
            frame[f"{column}.{names[key]}"] = pd.Series(values, index=frame.index, dtype=dtype)
    return frame


def _cells(row: KeyVerdict) -> dict[str, dict[str, Any]]:
    """By trial and column."""
    if (finding := row.finding) is None:
        return {}
    return {
        trial: {
            "verdict": finding.verdict.value,
            "may_be_best": i in finding.may_be_best,
            "worse_by_at_least": math.expm1(finding.low[i]),
            "worse_by_at_most": math.expm1(finding.high[i]),
        }
        for i, trial in enumerate(row.trials)
    }
