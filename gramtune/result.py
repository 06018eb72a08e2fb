"""The result of a sweep, for scripts and notebooks."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gramtune.analysis.key_verdicts import KeyVerdict, verdicts
from gramtune.analysis.trial_table import trial_table
from gramtune.errors import Issue, SpecError, did_you_mean
from gramtune.record.report import Status
from gramtune.record.state import SweepState
from gramtune.record.tables import results_frame
from gramtune.training.config import TrialConfig

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STEPS = "steps"
"""Pass this as the key to `Result.plot` to draw learning curves."""


@dataclass(frozen=True)
class Best:
    """The best completed trial by the mean of the primary metric."""

    name: str
    values: Mapping[str, Any]
    """The values of the varied keys."""
    metric: str
    mean: float
    std: float | None
    """Standard deviation over replicates; None for a single replicate."""
    n: int
    """Number of replicates with a value."""
    config: TrialConfig = field(repr=False)
    """The complete configuration of the trial."""


@dataclass(frozen=True)
class Result:
    """The result of a sweep that has just run, or of a run directory (`open_run`)."""

    folder: Path
    state: SweepState = field(repr=False)
    complete: bool
    """Whether every trial has ended; otherwise `resume_sweep` continues the sweep."""
    problem: str = ""
    """Why the sweep had to stop early, such as a full disk; empty otherwise."""

    @property
    def best(self) -> Best | None:
        """The best completed trial; None if no trial has completed or the trials are not comparable."""
        record, metric = self.state.best, self.state.plan.metric
        if record is None or (summary := record.summary(metric)) is None:
            return None
        trial = record.trial
        return Best(trial.name, dict(record.assignment), metric, summary.mean, summary.std, summary.n, trial.config)

    @property
    def frame(self) -> pd.DataFrame:
        """All values: one row per trial, replicate, step and metric."""
        return results_frame(self.state)

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: status, the final mean and spread of the primary metric, what the verdicts say of it."""
        return trial_table(self.state)

    @property
    def verdicts(self) -> list[KeyVerdict]:
        """Per varied key and method: INSENSITIVE, SENSITIVE or UNDECIDED, and the values that may be the best."""
        return verdicts(self.state)

    @property
    def summary(self) -> str:
        """The text of `summary.txt`: the question, the table of trials, the best trial, the verdicts."""
        from gramtune.report.text.summary import summary_text

        return summary_text(self.state)

    def plot(self, key: str | None = None) -> Figure:
        """The primary metric against a varied key (default: the first), or against training steps (`steps`).

        Returns a matplotlib figure, which a notebook displays. Raises SpecError for a key that does not vary.
        """
        from gramtune.report.figures.catalogue import learning_curves, sensitivity_figure

        keys = [*self.state.plan.sweep.space, STEPS]
        key = keys[0] if key is None else key
        if key not in keys:
            raise SpecError([Issue("plot", f"{key!r} does not vary{did_you_mean(key, keys)}")])
        figure = learning_curves(self.state) if key == STEPS else sensitivity_figure(self.state, key)
        vars(figure)["_repr_png_"] = lambda: _png(
            figure
        )  # without pyplot, a notebook would show only the object's address
        return figure

    def __str__(self) -> str:
        return self.summary

    def _repr_html_(self) -> str:
        """HTML for notebooks: the summary, and the figure of the first varied key if there are values."""
        parts = [f"<pre>{escape(self.summary)}</pre>"]
        if any(record.status == Status.COMPLETED for record in self.state.records.values()):
            image = b64encode(_png(self.plot())).decode()
            parts.append(f'<img alt="{escape(self.state.plan.metric)}" src="data:image/png;base64,{image}">')
        return "".join(parts)


def _png(figure: Figure) -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()
