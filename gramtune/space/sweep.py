"""The models of a space file (`SweepFile`) and of a checked sweep (`Sweep`); each section has a file of its own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator

from gramtune.components import Component, Pruner
from gramtune.errors import Path, count
from gramtune.plugins import Plugin
from gramtune.space.budget import Budget
from gramtune.space.domain import Assignment, Domain, assigned, expanded
from gramtune.space.judge import Judge, JudgeField
from gramtune.space.origins import SweepOrigins
from gramtune.space.population import NO_SCHEDULER, Scheduler
from gramtune.space.pruner import NO_PRUNER, PrunerField
from gramtune.space.replicates import Replicates, ReplicatesField
from gramtune.space.resources import Resources
from gramtune.space.search import Search
from gramtune.space.short_forms import short
from gramtune.training.config import TrialConfig


def listed(metric: Any) -> Any:
    """`metric: fid` is short for `metric: [fid]`."""
    return [metric] if isinstance(metric, str) else metric


def _file_or_mapping(base: Any) -> Any:
    if not isinstance(base, str | dict):
        raise ValueError(f"{base!r} should be a file, a shipped base's name, or a mapping of keys to values")
    return base


MOST_METRICS = 6
"""Most metrics of a Pareto front. With more, nearly every trial is on it."""
_Metrics = Annotated[list[str], Field(min_length=1, max_length=MOST_METRICS)]


class SweepFile(Component):
    """A space file: the varied keys, the base, the replicates, and how the sweep is searched and run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the folder under `runs/` and of the run in MLflow."""
    about: str = ""
    """The question that the sweep answers, in a sentence."""
    plugins: Annotated[tuple[Plugin, ...], Field(strict=False)] = ()
    """The user's own components: files, by a path relative to this file, or installed modules."""
    base: Annotated[str | dict[str, Any], BeforeValidator(_file_or_mapping)]
    """A trial configuration: a file beside this one, or inline."""
    space: Annotated[dict[str, Domain], Field(min_length=1, max_length=100)]
    """The domain of each varied key, by dotted path into the base."""
    metric: (
        Annotated[
            tuple[str, ...],
            Field(strict=False, min_length=1, max_length=MOST_METRICS),
            BeforeValidator(listed, json_schema_input_type=str | _Metrics),
        ]
        | None
    ) = None
    """The optimised metric. Default: the base's primary metric. Several give a Pareto front; the first is primary."""
    tolerance: Annotated[float, Field(gt=0, lt=10)] = 0.1
    """A method is insensitive to a key if every value is within this fraction of the best; 0.1 means 10 %."""
    judge: JudgeField = "last"
    """The values of a trial used for ranking, reports and pruning: those at the end of training (`last`), their mean
    over the last k evaluations (`{mean_of_last: k}`), or those of the best checkpoint (`best`), which is then evaluated
    on new samples."""
    search: Annotated[Search, short(Search), Field(validate_default=True)] = Search()
    pruner: PrunerField = NO_PRUNER
    """How hopeless trials are stopped early. Without this section nothing is pruned. With it, the default pruner is
    asha."""
    scheduler: Annotated[Scheduler, short(Scheduler)] = NO_SCHEDULER
    replicates: ReplicatesField = 3
    """The number of replicates of every trial, or `{min: 3, max: 20, until: decided}`."""
    budget: Budget = Budget()
    resources: Resources = Resources()

    @field_validator("space")
    @classmethod
    def _comparable(cls, space: dict[str, Domain]) -> dict[str, Domain]:
        if fixed := [key for key in ("metric", "training.replicates") if key in space]:
            raise ValueError(f"{fixed[0]} cannot vary: trials are compared by the same metric over the same seeds")
        return space

    @field_validator("metric")
    @classmethod
    def _distinct(cls, metric: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if metric and len(set(metric)) < len(metric):
            raise ValueError(f"{metric[0]!r} is named twice")
        return metric

    @field_validator("judge")
    @classmethod
    def _one_best(cls, judge: Judge, info: ValidationInfo) -> Judge:
        if judge == "best" and len(info.data.get("metric") or ()) > 1:
            raise ValueError("best is by one metric, but several are optimised; legal: last, {mean_of_last: k}")
        return judge

    @field_validator("search")
    @classmethod
    def _fits_domains(cls, search: Search, info: ValidationInfo) -> Search:
        for key, domain in info.data.get("space", {}).items():
            if search.name == "grid" and not domain.enumerable:
                raise ValueError(
                    f"search grid needs keys with grid or cases, but {key} has another kind; or use random, tpe, …"
                )
            if search.name != "grid" and domain.grid is not None:
                raise ValueError(f"{search.name} samples, but {key} is a grid; use choice, uniform, int, … there")
        several = len(info.data.get("metric") or ()) > 1
        if search.warm_start and several:
            raise ValueError("warm_start has one metric, but several are optimised")
        if search.name == "cmaes" and several:
            raise ValueError("cmaes optimises one metric; legal for several: grid, random, tpe, gp, qmc, nsga2")
        return search

    @field_validator("pruner")
    @classmethod
    def _one_metric(cls, pruner: Pruner, info: ValidationInfo) -> Pruner:
        if pruner.name != "none" and len(info.data.get("metric") or ()) > 1:
            raise ValueError(f"{pruner.name} judges by one metric, but several are optimised; legal: none")
        if pruner.needs_completed and "search" in info.data and info.data["search"].synchronous:
            raise ValueError(
                f"{pruner.name} reads which trials are completed, which a synchronous search does not fix; "
                "legal: asha, hyperband, median"
            )
        return pruner

    @field_validator("scheduler")
    @classmethod
    def _population_alone(cls, scheduler: Scheduler, info: ValidationInfo) -> Scheduler:
        if {"search", "pruner"} <= info.data.keys():
            search, pruner, judge = info.data["search"], info.data["pruner"], info.data.get("judge", "last")
            if why := scheduler.obstacle(search, pruner, judge, len(info.data.get("metric") or ())):
                raise ValueError(why)
        return scheduler

    @property
    def is_population(self) -> bool:
        """Whether its trials are trained as a population, in which values change during training."""
        return self.scheduler.name == "pbt"

    @property
    def min_replicates(self) -> int:
        """The number of replicates that every trial has."""
        return self.replicates if isinstance(self.replicates, int) else self.replicates.min

    @property
    def max_replicates(self) -> int | None:
        """The most replicates that a trial can get until its verdict is decided; None for a fixed number."""
        return None if isinstance(self.replicates, int) else self.replicates.max

    @property
    def replicates_text(self) -> str:
        """The replicates in words: `3 replicates`, or `3 to 20 replicates, until decided`."""
        if isinstance(self.replicates, int):
            return count(self.replicates, "replicate")
        return f"{self.replicates.min} to {self.replicates.max} replicates, until decided"

    @field_validator("replicates")
    @classmethod
    def _decidable(cls, replicates: int | Replicates, info: ValidationInfo) -> int | Replicates:
        if isinstance(replicates, int) or not {"space", "search", "scheduler"} <= info.data.keys():
            return replicates
        search, why = info.data["search"], ""
        if info.data["scheduler"].name != "none":
            why = "the values of a population change during training"
        if len(info.data.get("metric") or ()) > 1:
            why = "a verdict is about one metric"
        if search.name != "grid" and len(info.data["space"]) > 1:
            why = f"{search.name} varies several keys at once, so no two trials differ in only one key"
        if why:
            raise ValueError(f"until: decided needs a verdict, but {why}; legal here: a number")
        return replicates


class _Checking(type(SweepFile)):  # type: ignore[misc]
    """Makes `Sweep(…)` in Python run the checks of a file; `model_validate` restores a checked sweep without them."""

    def __call__(cls, **fields: Any) -> Any:
        from gramtune.space.load import checked_sweep

        return checked_sweep(fields)


class Sweep(SweepFile, metaclass=_Checking):
    """A checked sweep. `load_sweep` reads one from a file.

    In Python, `Sweep(name=…, base=…, space={…}, …)` takes the keys of a space file and raises the same SpecError, with
    the line of the call.
    """

    base: dict[str, Any]
    """A trial configuration with the sweep's metric and replicates."""
    _origins: SweepOrigins | None = PrivateAttr(None)

    def config(self, assignment: Assignment) -> TrialConfig:
        """The trial configuration with these values. Raises pydantic's ValidationError if they are not legal."""
        return TrialConfig.model_validate(assigned(self.base, expanded(assignment, self.space)))

    def located(self, origins: SweepOrigins) -> Sweep:
        """This sweep with these origins of its values."""
        self._origins = origins
        return self

    @property
    def idle(self) -> tuple[str, ...]:
        """One line for each option and key that was given and has no effect."""
        return self._origins.idle if self._origins else ()

    def where(self, path: Path) -> str:
        """The origin of a key of the sweep: file and line, or option."""
        return self._origins.sweep.where(path) if self._origins else self.name

    def where_trial(self, path: Path) -> str:
        """The origin of a part of the trials' configuration."""
        return self._origins.trial.where(path) if self._origins else self.name
