"""Adapts the driver to Ray Tune: a searcher that hands out trials, a stopper that ends them, and a callback.

Tune pickles all three into its own state, which gramtune does not use: a sweep resumes from the journal.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import ProgressReporter
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from gramtune.backends.ray.quiet import tune
from gramtune.backends.ray.trainable import HANG
from gramtune.errors import clipped
from gramtune.record.layout import trial_folder
from gramtune.run.driver import Driver
from gramtune.run.gpu_shares import GpuShares
from gramtune.run.messages import Failed, decoded
from gramtune.space.plan import PlannedTrial

_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")
"""The beginning of a line that names an error: `ValueError: …`, `pydantic_core.ValidationError: …`."""


def ray_trial_name(trial: Any) -> str:
    """gramtune's name of a Tune trial."""
    name: str = trial.config["trial"]["name"]
    return name


class _Unpickled:
    """Drops state that Tune cannot pickle and that is never read."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Silence(ProgressReporter):  # type: ignore[misc]  # ray is not annotated
    """Suppresses Tune's reports. In a notebook they clear the cell's output, also gramtune's, even at verbose=0."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """Never."""
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: str) -> None:
        """Nothing."""


class TrialRegistry:
    """The trials that were handed out, their GPU shares, and those to retry with a larger share."""

    def __init__(self, share: float) -> None:
        self.planned: dict[str, PlannedTrial] = {}
        self.shares = GpuShares(share)
        self.retries: list[PlannedTrial] = []


class DriverSearcher(_Unpickled, Searcher):  # type: ignore[misc]  # ray is not annotated
    """Hands out the driver's trials as `{"trial": {…}}` with name, assignment, first, number of replicates, gpu."""

    def __init__(self, driver: Driver, registry: TrialRegistry) -> None:
        super().__init__()
        self._driver, self._registry = driver, registry
        self._running: set[str] = set()

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        """Accepts anything, because Tune's search space is not used."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial; None if there is none yet; FINISHED if there are no more."""
        trial = self._registry.retries.pop(0) if self._registry.retries else self._driver.next()
        if trial is None:
            returning = self._running and self._registry.shares.may_grow  # one of them may need a larger share
            return None if returning or self._driver.pausing else Searcher.FINISHED
        self._running.add(trial_id)
        self._registry.planned[trial.name] = trial
        fields = {"name": trial.name, "assignment": dict(trial.assignment), "first": trial.first}
        fields["replicates"] = trial.first + trial.config.training.replicates
        return {"trial": {**fields, "gpu": self._registry.shares.of(trial.name)}}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Does nothing: the driver already knows how the trial ended."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: there is no state to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing: there is no state to restore."""


class LiveTrialsInOrder(FIFOScheduler):  # type: ignore[misc]  # ray is not annotated
    """Keeps Tune's order but searches only live trials; Tune itself also searches the ended ones."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The trial that has waited longest, preferred to paused trials; None if there is none."""
        live = sorted(tune_controller.get_live_trials(), key=lambda trial: trial.trial_id)
        waiting = [t for status in (Trial.PENDING, Trial.PAUSED) for t in live if t.status == status]
        return waiting[0] if waiting else None


class DriverStopper(_Unpickled, tune.Stopper):  # type: ignore[misc]  # ray is not annotated
    """Passes every report to the driver and stops a trial that the driver prunes.

    A Tune scheduler is not used, because it gets flattened reports and not the last report of a trial.
    """

    def __init__(self, driver: Driver, registry: TrialRegistry, say: Callable[[str], None]) -> None:
        self._driver, self._registry, self._say = driver, registry, say

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial should stop."""
        message = decoded(result["message"])
        if isinstance(message, Failed) and message.out_of_memory and self._retry(message.trial):
            return True
        return not self._driver.heard(message, self._say)

    def _retry(self, name: str) -> bool:
        """Restarts a trial that ran out of GPU memory from its checkpoint with a larger share."""
        before, share = self._registry.shares.of(name), self._registry.shares.grow(name)
        if share is None:
            return False
        self._say(f"{name}: out of memory with gpu: {before:g}; it continues with gpu: {share:g}")
        self._registry.retries.append(self._registry.planned[name])
        return True

    def stop_all(self) -> bool:
        """Whether the sweep should stop now; normally the searcher ends it."""
        return bool(self._driver.halted)


class DriverCallback(_Unpickled, tune.Callback):  # type: ignore[misc]  # ray is not annotated
    """Reports starts and failures to the driver, and ends the run when it is interrupted.

    `own`: Ray is shut down after the run, so the run can end without waiting for running trials.
    """

    def __init__(self, driver: Driver, registry: TrialRegistry, say: Callable[[str], None], own: bool) -> None:
        self._driver, self._registry, self._say, self._own = driver, registry, say, own

    def setup(self, *arguments: Any, **info: Any) -> None:
        """Reinstalls our signal handlers, which Tune has just replaced."""
        self._driver.interruption.arm()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Ends the run between two events if it is interrupted."""
        if self._driver.interruption.asked:
            if self._own:
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGUSR1)  # Tune's own way to end early

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Records that the trial started."""
        self._driver.started(self._registry.planned[ray_trial_name(trial)])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Reports that the trial died and will be retried."""
        if self._driver.interruption.asked:  # the trial's process got the signal too
            return
        self._say(f"{ray_trial_name(trial)}: {self._failure(trial)}; it restarts from its newest checkpoint")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Records that the trial died and has no retries left."""
        if self._driver.interruption.asked:
            return
        self._driver.failed(ray_trial_name(trial), self._failure(trial))

    def _failure(self, trial: Any) -> str:
        """The error at the end of the traceback that Tune stored; its copy in the sweep's folder may come later."""
        folder = trial_folder(self._driver.folder, ray_trial_name(trial))
        if (hang := folder / HANG).is_file() and hang.stat().st_size:
            timeout = self._driver.state.plan.sweep.resources.timeout
            return f"no report within {timeout:g} s; {HANG} in its folder shows where it hung"
        local = Path(trial.error_file) if trial.error_file else None
        text = local.read_text(encoding="utf-8") if local and local.is_file() else str(trial.get_error() or "")
        if "OutOfMemoryError" in text:  # a page of advice follows
            return (
                "out of memory: Ray killed its process because the machine ran out of memory (lower --max-concurrent)"
            )
        return raised(text) or "the trial's process died without an error message"


def raised(text: str) -> str:
    """The error at the end of a traceback, with all lines of its message joined to one; empty if there is no text."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    begins = [i for i, line in enumerate(lines) if _ERROR.match(line)]
    message = lines[begins[-1] :] if begins else lines[-1:]
    return clipped(" ".join(line.strip() for line in message))
