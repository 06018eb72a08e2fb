"""Proposes trials with Optuna. The study is a file in the sweep's folder and learns the result of each trial."""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from gramtune.components import Direction
from gramtune.record.journal import mend
from gramtune.record.report import Report, Status, summarise
from gramtune.record.state import SweepState, TrialRecord
from gramtune.record.warm_start import Observation, stored_warm_start
from gramtune.space.domain import Domain, fitting
from gramtune.space.plan import PlannedTrial, planned
from gramtune.space.search import Search

STUDY_FILE = "study.journal"
"""Open it with `optuna-dashboard`, or `optuna.load_study` on its JournalStorage; the study has the sweep's name."""
_REPEATS = 100
"""Most consecutive proposals that are duplicates or illegal."""
_STATES = {
    Status.COMPLETED: TrialState.COMPLETE,
    Status.PRUNED: TrialState.PRUNED,
    Status.PAUSED: TrialState.PRUNED,
    Status.DIVERGED: TrialState.COMPLETE,
    Status.FAILED: TrialState.FAIL,
}
"""Optuna's state for each final status. STOPPED is missing, because the trial continues with a larger budget.

DIVERGED trials get a penalty (`_penalty`): TPE, GP and CMA-ES ignore failed trials and would propose the same region.
"""
_SEEDS = 2**32
"""NumPy's RandomState takes seeds below this."""
_SAMPLERS: dict[str, Callable[[Search, int], BaseSampler]] = {
    "random": lambda search, seed: RandomSampler(seed=seed),
    "tpe": lambda search, seed: TPESampler(seed=seed),
    "cmaes": lambda search, seed: CmaEsSampler(seed=seed),
    "gp": lambda search, seed: GPSampler(seed=seed),
    "qmc": lambda search, seed: QMCSampler(
        seed=search.seed % _SEEDS, independent_sampler=RandomSampler(seed=seed), warn_independent_sampling=False
    ),
    "nsga2": lambda search, seed: NSGAIISampler(population_size=search.generation, seed=seed),
}


class _Storage(JournalStorage):  # type: ignore[misc]  # mypy does not follow optuna
    """Storage of a study to which only this process adds trials, so that it knows whether an enqueued trial is waiting.

    Otherwise each `ask` of Optuna would scan all trials, which slows the driver down as the study grows.
    """

    _may_wait = True

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """As JournalStorage."""
        self._may_wait |= template_trial is not None and template_trial.state == TrialState.WAITING
        trial_id: int = super().create_new_trial(study_id, template_trial)
        return trial_id

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Like JournalStorage, but returns at once if waiting trials are requested and there are none."""
        only_waiting = states == (TrialState.WAITING,)
        if only_waiting and not self._may_wait:
            return []
        found: list[FrozenTrial] = super().get_all_trials(study_id, deepcopy, states)
        if only_waiting:
            self._may_wait = bool(found)
        return found


class OptunaProposer:
    """The Proposer of a sampled sweep.

    Its study holds one Optuna trial per trial of the sweep, with the mean over replicates at each evaluation as
    intermediate value; with several metrics, only the means at the end. The study gets PRUNED as PRUNED, FAILED as
    FAIL, and DIVERGED as COMPLETE with a penalty. The penalty exists only in the study, not in tables. A paused trial
    is PRUNED there; its promotion adds a second trial, because Optuna cannot reopen the first.
    """

    def __init__(self, state: SweepState, folder: Path) -> None:
        self._state, self._sweep = state, state.plan.sweep
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        directions = [state.plan.config.directions[metric] for metric in state.plan.metrics]
        _free(folder / STUDY_FILE)
        try:
            self._study = self._open(folder, directions)
            stale = self._closed_a_resumed_trial()
        except Exception:  # noqa: BLE001 - a damaged file can raise anything; the journal has all results
            stale = True
        if stale:
            (folder / STUDY_FILE).unlink()
            self._study = self._open(folder, directions)
        if not self._frozen():
            self._observe(stored_warm_start(folder))
        self._trials: dict[str, optuna.Trial] = {}
        self._curves: defaultdict[str, set[int]] = defaultdict(set)
        """Steps whose values the study already has, by trial, because it accepts each step once."""
        self._paused: set[str] = set()
        """Trials whose newest trial in the study was closed by a pause."""
        self._orphans: list[optuna.Trial] = []
        self._untold: list[TrialRecord] = []
        """Diverged trials that wait for the first completed trial, which is needed to compute a penalty."""
        self._told = 0
        """In a synchronous search: records whose results are completely in the study."""
        self._batch: list[PlannedTrial] = []
        """In a synchronous search: trials that were proposed together and are not yet handed out."""
        self._recall()
        self._catch_up()
        self._next_number = len(self._frozen())
        asked = (t.user_attrs.get("point", -1) for t in self._frozen())
        self._next_point = max(len(self._trials), 1 + max(asked, default=-1))
        """Index of the next entry of `search.points`. A point that gave no new trial is not tried again."""

    def _open(self, folder: Path, directions: Sequence[Direction]) -> optuna.Study:
        return optuna.create_study(
            storage=_Storage(JournalFileBackend(str(folder / STUDY_FILE))),
            study_name=self._sweep.name,
            directions=[{"min": "minimize", "max": "maximize"}[direction] for direction in directions],
            load_if_exists=True,
        )

    def _observe(self, earlier: Sequence[Observation]) -> None:
        """Adds trials of earlier sweeps as observations; they are not trials of this sweep."""
        for observed in earlier:
            params = {key: encoded(chosen) for key, chosen in observed.assignment.items()}
            domains = {key: distribution(self._sweep.space[key]) for key in params}
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=params,
                    distributions=domains,
                    value=observed.value,
                    user_attrs={"warm_start": observed.source},
                )
            )

    def _closed_a_resumed_trial(self) -> bool:
        """Whether the study has closed a trial that now continues, with more steps or after a failure.

        Optuna cannot reopen a trial, so the study is then rebuilt from the journal.
        """
        closed = [t for t in self._frozen() if t.user_attrs.get("status") != Status.PAUSED]
        known = ((t.state, self._state.records.get(t.user_attrs.get("trial", ""))) for t in closed)
        return any(s.is_finished() and r is not None and not r.status.final and not r.due.first for s, r in known)

    def _frozen(self) -> list[FrozenTrial]:
        found: list[FrozenTrial] = self._study.get_trials(deepcopy=False)
        return found

    @property
    def waiting(self) -> bool:
        """Whether further proposals exist but must wait until all earlier trials have ended."""
        together, known = self._sweep.search.together, len(self._trials)
        at_border = together and not self._batch and known % together == 0 and known < self._sweep.search.samples
        return bool(at_border and self._state.unfinished)

    def propose(self) -> PlannedTrial | None:
        """A new configuration; None if there are enough, if no new one is found, or if proposals must wait."""
        if not (together := self._sweep.search.together):
            return self._proposal()
        if not self._batch and not self.waiting:
            missing = together - len(self._trials) % together
            self._batch = list(islice(iter(self._proposal, None), missing))
        return self._batch.pop(0) if self._batch else None

    def _proposal(self) -> PlannedTrial | None:
        if len(self._trials) >= self._sweep.search.samples:  # includes trials that are handed out but not started
            return None
        for _ in range(_REPEATS):
            trial = self._orphans.pop(0) if self._orphans else self._ask()
            try:
                proposal = planned(self._sweep, self._suggest(trial))
            except ValidationError as error:  # not all combinations were checked before the start
                trial.set_user_attr("reason", str(error.errors()[0]["msg"]))
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            if proposal.name not in self._trials:
                trial.set_user_attr("trial", proposal.name)
                self._trials[proposal.name] = trial
                return proposal
            self._repeat(trial, proposal.name)
        return None

    def learn(self, record: TrialRecord) -> None:
        """Reports the newest value and the end of a trial to the study; if synchronous, once its batch has ended."""
        if self._sweep.search.together:
            self._catch_up()
            return
        self._go_on(record)
        trial = self._trials[record.trial.name]
        if record.last and record.last.step not in self._curves[record.trial.name]:  # a retry repeats its last report
            self._report(record.trial.name, record.last)
        if record.status in _STATES:
            self._tell(trial, record)

    def _go_on(self, record: TrialRecord) -> None:
        """Adds a promoted trial to the study again, with all its reports."""
        name = record.trial.name
        if name in self._paused and record.status != Status.PAUSED:
            self._paused.discard(name)
            self._curves.pop(name, None)
            self.enqueue(record)
            for _, report in sorted(record.reports.items()):
                self._report(name, report)

    def enqueue(self, record: TrialRecord) -> None:
        """Adds a trial that the user enqueued to the study."""
        self._trials[record.trial.name] = trial = self._again(record)
        self._next_number = trial.number + 1

    def _ask(self) -> optuna.Trial:
        points, space = self._sweep.search.points, self._sweep.space
        if self._next_point < len(points):
            point = {key: encoded(fitting(space[key], value)) for key, value in points[self._next_point].items()}
            self._study.enqueue_trial(point, user_attrs={"point": self._next_point})
            self._next_point += 1
        # Set the sampler before `ask`, in which CMA-ES and GP draw all keys at once.
        self._study.sampler = make_sampler(self._sweep.search, self._next_number)
        trial = self._study.ask()
        self._next_number = trial.number + 1
        return trial

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        assignment: dict[str, Any] = {}
        for key, domain in self._sweep.space.items():
            if domain.active(assignment, self._sweep.base):
                assignment[key] = _decoded(trial._suggest(key, distribution(domain)), domain)
        return assignment

    def _repeat(self, trial: optuna.Trial, name: str) -> None:
        """Reports the known result of a repeated configuration, which needs no training."""
        trial.set_user_attr("repeats", name)
        record = self._state.records.get(name)
        if record and record.status in _STATES:
            self._tell(trial, record)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def _tell(self, trial: optuna.Trial, record: TrialRecord) -> None:
        values = self._penalty() if record.status == Status.DIVERGED else self._means(record)
        if record.status == Status.DIVERGED and values is None:
            self._untold.append(record)
            return
        trial.set_user_attr("status", record.status.value)
        trial.set_user_attr("reason", record.reason)
        state = _STATES[record.status]
        told = values if state == TrialState.COMPLETE else None
        self._paused |= {record.trial.name} if record.status == Status.PAUSED else set()
        self._study.tell(trial, told, state=state, skip_if_finished=True)
        if record.status == Status.COMPLETED and self._untold:
            untold, self._untold = self._untold, []
            for diverged in untold:
                self._tell(self._trials[diverged.trial.name], diverged)

    def _means(self, record: TrialRecord) -> list[float]:
        return [s.mean for metric in self._state.plan.metrics if (s := record.summary(metric))]

    def _penalty(self) -> list[float] | None:
        """The penalty of a diverged trial: as far beyond the worst completed trial as that one is from the best.

        One value per metric; None while no trial is completed.
        """
        completed = [self._means(r) for r in self._state.records.values() if r.status == Status.COMPLETED]
        if not completed:
            return None
        directions = self._state.plan.config.directions
        signs = [1.0 if directions[metric] == "min" else -1.0 for metric in self._state.plan.metrics]
        columns = [[sign * v for v in column] for sign, column in zip(signs, zip(*completed, strict=True), strict=True)]
        return [
            sign * (max(column) + max(max(column) - min(column), abs(max(column)), 1e-6))
            for sign, column in zip(signs, columns, strict=True)
        ]

    def _report(self, name: str, report: Report) -> None:
        summary = summarise(report.metrics.get(self._state.plan.metric, []))
        if summary and len(self._state.plan.metrics) == 1:  # Optuna keeps curves of one metric only
            self._trials[name].report(summary.mean, report.step)
        self._curves[name].add(report.step)

    def _recall(self) -> None:
        """Recalls the trials that an earlier driver added to the study, including trials that never started."""
        for frozen in self._frozen():
            name = frozen.user_attrs.get("trial")
            if name in self._state.records:
                self._trials[name] = optuna.Trial(self._study, frozen._trial_id)
                paused = {name} if frozen.user_attrs.get("status") == Status.PAUSED else set()
                self._paused = self._paused - {name} | paused
            elif frozen.state == TrialState.RUNNING:  # the driver died before this trial started
                self._study.sampler = make_sampler(self._sweep.search, frozen.number)
                self._orphans.append(optuna.Trial(self._study, frozen._trial_id))

    def _catch_up(self) -> None:
        """Adds to the study the results that only the journal has, because the journal is written first."""
        for name, record in self._state.records.items():
            if name not in self._trials:
                self._trials[name] = self._again(record)
            self._go_on(record)
        settled = self._settled()
        new, self._told = settled[self._told :], len(settled) if self._sweep.search.together else 0
        for record in new:
            name, trial = record.trial.name, self._trials[record.trial.name]
            stored = trial.storage.get_trial(trial._trial_id)
            if stored.state != TrialState.RUNNING:
                continue
            for step, report in sorted(record.reports.items()):
                if step in stored.intermediate_values:
                    self._curves[name].add(step)
                else:
                    self._report(name, report)
            if record.status in _STATES:
                self._tell(trial, record)

    def _settled(self) -> list[TrialRecord]:
        """The trials whose results the study may use: all; in a synchronous search, only those of ended batches."""
        records, together = list(self._state.records.values()), self._sweep.search.together
        for start in range(0, len(records), together or len(records) or 1) if together else ():
            batch = records[start : start + together]
            whole = len(batch) == together or start + len(batch) >= self._sweep.search.samples
            if not whole or any(not record.status.final for record in batch):
                return records[:start]
        return records

    def _again(self, record: TrialRecord) -> optuna.Trial:
        """Recreates a trial that the study has lost."""
        assignment = record.trial.assignment
        self._study.enqueue_trial({key: encoded(value) for key, value in assignment.items()})
        trial = self._study.ask({key: distribution(self._sweep.space[key]) for key in assignment})
        trial.set_user_attr("trial", record.trial.name)
        return trial


def _free(study: Path) -> None:
    """Removes the lock of a killed driver, for which Optuna would wait forever."""
    study.with_name(f"{study.name}.lock").unlink(missing_ok=True)
    mend(study)


def make_sampler(search: Search, number: int) -> BaseSampler:
    """Optuna's sampler with the name of the search, for trial `number` of the study.

    Each proposal gets a new sampler, so that it depends only on the seed, the number and the study, not on draws of an
    earlier driver. QMC uses one sequence, whose position is stored in the study; conditional keys are not part of the
    sequence and are drawn by a sampler with the trial's own seed.
    """
    seed = (search.seed * 1_000_003 + number) % _SEEDS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # QMC's, at every proposal
        return _SAMPLERS[search.name](search, seed)


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's distribution of a domain; bounds are inclusive in both."""
    if domain.values is not None:
        return CategoricalDistribution([encoded(value) for value in domain.values])
    assert domain.bounds is not None
    low, high = domain.bounds
    if domain.whole:
        return IntDistribution(int(low), int(high), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(low, high, log=domain.log, step=domain.step)


def encoded(value: Any) -> Any:
    """Encodes lists and mappings as JSON, because Optuna's stores hold only scalars."""
    return json.dumps(value, sort_keys=True) if isinstance(value, list | tuple | Mapping) else value


def _decoded(value: Any, domain: Domain) -> Any:
    """The value of the domain for an encoded value."""
    if domain.bounds is not None:
        return domain.as_written(value)
    return next((v for v in domain.values if encoded(v) == value), value) if domain.values else value
