"""Runs a sweep's unfinished trials on Ray Tune."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gramtune.backends.quiet_ray import ray, tune
from gramtune.backends.ray_trainable import GramTrainable
from gramtune.paths import data_root
from gramtune.sweep.journal import Journal
from gramtune.sweep.local_resources import grant
from gramtune.sweep.state import Status, SweepState

_FAILURES = 1
"""Times that a trial may die (a killed process, an exception) and go on from its checkpoint."""


class RayRunner:
    """The Runner on a local Ray: the one that this process is connected to, else one that lives as long as the run."""

    def __init__(self, say: Callable[[str], None], max_concurrent: int | None = None) -> None:
        self._say, self._max_concurrent = say, max_concurrent

    def run(self, state: SweepState, folder: Path) -> None:
        """See `Runner`. Raises SpecError if this machine cannot hold one trial."""
        share = grant(state.plan.sweep.resources)
        if share.note:
            self._say(share.note)
        ours = not ray.is_initialized()
        if ours:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            resources = {"cpu": share.cpu, **({"gpu": share.gpu} if share.gpu else {})}
            tuner = tune.Tuner(
                tune.with_resources(_with_parameters(state, folder), resources),
                param_space={"trial": tune.grid_search(_planned(state))},
                tune_config=tune.TuneConfig(
                    max_concurrent_trials=self._max_concurrent,
                    reuse_actors=True,
                    trial_name_creator=_trial_name,
                    trial_dirname_creator=_trial_name,
                ),
                run_config=tune.RunConfig(
                    name="trials",
                    storage_path=str(folder.absolute()),
                    verbose=0,
                    callbacks=[_JournalCallback(Journal(folder, state), self._say)],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    failure_config=tune.FailureConfig(max_failures=_FAILURES),
                ),
            )
            tuner.fit()
        finally:
            if ours:
                ray.shutdown()


class _JournalCallback(tune.Callback):  # type: ignore[misc]  # ray is not annotated
    """Tune's events → journal. Tune pickles callbacks into its own state, which needs nothing of this one."""

    def __init__(self, journal: Journal | None = None, say: Callable[[str], None] = print) -> None:
        self._journal, self._say = journal, say

    def __getstate__(self) -> dict[str, Any]:
        return {"_journal": None, "_say": print}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        assert self._journal is not None
        self._journal.started(_trial_name(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        assert self._journal is not None
        for line in result["damaged"]:
            self._say(f"{_trial_name(trial)}: {line}; the one before is used")
        self._journal.reported(_trial_name(trial), result)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._say(f"{_trial_name(trial)}: {_failure(trial)}; it starts again from its newest checkpoint")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        assert self._journal is not None
        self._journal.ended(_trial_name(trial), Status.FAILED, _failure(trial))


def _with_parameters(state: SweepState, folder: Path) -> Any:
    sweep = state.plan.sweep.model_dump(mode="json")
    return tune.with_parameters(GramTrainable, sweep=sweep, folder=str(folder.absolute()), root=str(data_root()))


def _planned(state: SweepState) -> list[dict[str, Any]]:
    return [{"name": r.trial.name, "assignment": dict(r.trial.assignment)} for r in state.unfinished]


def _trial_name(trial: Any) -> str:
    name: str = trial.config["trial"]["name"]
    return name


def _failure(trial: Any) -> str:
    """The last line of the traceback that Tune stored."""
    lines = [line.strip() for line in str(trial.get_error() or "").splitlines() if line.strip()]
    return lines[-1] if lines else "the trial's process died without a word"
