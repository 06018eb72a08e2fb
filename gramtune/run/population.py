"""Population-based training (Jaderberg et al. 2017) in generations: the worst trials continue from the best weights.

Every `interval` steps all trials wait for each other. Then each of the worst copies the checkpoint and the values of
one of the best, and perturbs the values. The result is a schedule of values, not a point. It depends neither on the
number of concurrent trials nor on their speed.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gramtune.io import watching_space
from gramtune.record.journal import Journal
from gramtune.record.layout import checkpoints, trial_folder
from gramtune.record.state import Inheritance, SweepState, TrialRecord
from gramtune.space.domain import Assignment, Domain
from gramtune.space.plan import PlannedTrial
from gramtune.space.population import Scheduler
from gramtune.space.sweep import Sweep


class Population:
    """Decides which trials wait and which inherit. A generation is one line of the journal, so it is atomic."""

    def __init__(self, state: SweepState, folder: Path, journal: Journal) -> None:
        self._state, self._folder, self._journal = state, folder, journal
        self._scheduler = state.plan.sweep.scheduler
        self._boundary = max(state.generations, default=0)

    def unarrived(self) -> list[PlannedTrial]:
        """Trials that must still train to the end of this generation, with their current values."""
        return [self._now(record) for record in self._state.unfinished if self._end not in record.reports]

    def known(self, step: int) -> bool:
        """Whether a report of this step is already known: a resumed trial repeats the report of its checkpoint."""
        return 0 < step <= self._boundary

    def pauses(self, step: int) -> bool:
        """Whether a trial waits for the other trials after this step."""
        return step == self._end

    def turn(self) -> list[PlannedTrial]:
        """The trials of the next generation if all have finished this one; otherwise empty."""
        waiting = [record for record in self._state.unfinished if self._end in record.reports]
        if not waiting or len(waiting) < len(self._state.unfinished):
            return []
        heirs = self._heirs(waiting)
        for name, inheritance in heirs.items():
            self.copy(inheritance.parent, name)
        self._boundary = self._end
        self._journal.generation(self._boundary, heirs)
        return self.unarrived()

    @property
    def _end(self) -> int:
        return self._boundary + self._scheduler.interval

    def _now(self, record: TrialRecord) -> PlannedTrial:
        name, assignment = record.trial.name, record.assignment
        return PlannedTrial(name, assignment, self._state.plan.sweep.config(assignment))

    def _heirs(self, waiting: Sequence[TrialRecord]) -> dict[str, Inheritance]:
        """The inheritance of each of the worst trials. Trials with a diverged replicate rank below all others."""
        ranking = sorted(waiting, key=self._loss)
        count = int(len(ranking) * self._scheduler.quantile)
        parents = [record for record in ranking[:count] if self._loss(record)[0] == 0]
        heirs = {}
        for record in ranking[len(ranking) - count :] if parents else []:
            rng = random.Random(f"{self._state.plan.sweep.search.seed} {self._end} {record.trial.name}")
            parent = rng.choice(parents)
            values = perturbed(parent.assignment, self._state.plan.sweep.space, self._base, self._scheduler, rng)
            heirs[record.trial.name] = Inheritance(self._end, parent.trial.name, values)
        return heirs

    def _loss(self, record: TrialRecord) -> tuple[int, float, str]:
        metric = self._state.plan.metric
        values = record.reports[self._end].metrics.get(metric, [])
        known = [value for value in values if value is not None]
        sign = 1 if self._state.plan.config.directions[metric] == "min" else -1
        mean = sign * sum(known) / len(known) if known else float("inf")
        return len(values) - len(known) if known else len(values) + 1, mean, record.trial.name

    @property
    def _base(self) -> Mapping[str, Any]:
        return self._state.plan.sweep.base

    def copy(self, parent: str, heir: str) -> None:
        """Replaces the heir's checkpoints with its parent's. Idempotent. Raises DiskFull."""
        target = trial_folder(self._folder, heir)
        for path in checkpoints(target):
            path.unlink()
        with watching_space(target):
            for path in checkpoints(trial_folder(self._folder, parent)):
                shutil.copyfile(path, target / path.name)


def growth_refusals(stored: Sweep, wanted: Sweep, *, wider: bool) -> Iterator[str]:
    """Why a population cannot grow to `wanted`: one line each. `wider`: whether its grid has further values."""
    if not wanted.is_population:
        return
    if wanted.min_replicates > stored.min_replicates:
        yield "replicates cannot be added to population-based training: inheritance depends on them"
    if wanted.search.samples != stored.search.samples:
        yield "trials cannot be added to population-based training: the others already inherited from each other"
    if wider:
        yield "values cannot be added to population-based training: the trials already inherited from each other"


def perturbed(
    parent: Assignment, space: Mapping[str, Domain], base: Mapping[str, Any], scheduler: Scheduler, rng: random.Random
) -> dict[str, Any]:
    """The parent's values, each drawn at random with probability `resample`, otherwise moved one step up or down."""
    values: dict[str, Any] = {}
    for key, domain in space.items():
        if domain.active(values, base):
            anew = key not in parent or rng.random() < scheduler.resample
            values[key] = (
                domain.draw(rng) if anew else domain.neighbour(parent[key], rng.choice(scheduler.factors), rng)
            )
    return values
