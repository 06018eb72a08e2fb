"""The models of a space file (`SweepFile`) and of a checked sweep (`Sweep`), with their sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gramtune.components import Component, Pruner
from gramtune.errors import Path, count
from gramtune.plugins import Plugin
from gramtune.pruners.none import NoPruner
from gramtune.registry import Named, classes
from gramtune.space.domain import Assignment, Domain, assigned, expanded
from gramtune.space.origins import Provenance
from gramtune.training.config import TrialConfig


def expand_name(section: Any) -> Any:
    """`pruner: asha` is short for `pruner: {name: asha}`."""
    return {"name": section} if isinstance(section, str) else section


def short(section: type[Component]) -> BeforeValidator:
    """`expand_name` for a section; its JSON Schema allows the name alone too."""
    return BeforeValidator(expand_name, json_schema_input_type=section.model_fields["name"].annotation | section)


def listed(metric: Any) -> Any:
    """`metric: fid` is short for `metric: [fid]`."""
    return [metric] if isinstance(metric, str) else metric


def _file_or_mapping(base: Any) -> Any:
    if not isinstance(base, str | dict):
        raise ValueError(f"{base!r} should be a file, a shipped base's name, or a mapping of keys to values")
    return base


ALGORITHMS: Mapping[str, Mapping[str, str]] = {
    "Search": {
        "grid": "every combination of the values; no sampler",
        "random": "independent draws",
        "tpe": "tree-structured Parzen estimator (Bergstra et al. 2011)",
        "cmaes": "covariance matrix adaptation evolution strategy (Hansen 2016)",
        "gp": "Bayesian optimisation with a Gaussian process",
        "qmc": "quasi-Monte Carlo: points of a scrambled Sobol sequence",
        "nsga2": "genetic algorithm for two metrics (Deb et al. 2002)",
    },
}
"""One line on each search, by name."""

Judge = Literal["last", "best"] | dict[Literal["mean_of_last"], int]


def _judge(value: Any) -> Any:
    if value in ("last", "best"):
        return value
    k = value.get("mean_of_last") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(k, int) or isinstance(k, bool) or k < 2:
        raise ValueError(f"{value!r} should be last, best or {{mean_of_last: k}} with a whole number k of at least 2")
    return value


class Search(Component):
    """How configurations are proposed: the whole grid, or one of Optuna's samplers by name."""

    name: Literal["grid", "random", "tpe", "cmaes", "gp", "qmc", "nsga2"] = "grid"
    samples: PositiveInt = 20
    """Number of sampled trials; ignored for a grid."""
    seed: NonNegativeInt = 0
    """Seed of the sampler."""
    points: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()
    """Values of some or all varied keys to try first."""
    population_size: Annotated[int, Field(ge=2)] | None = None
    """nsga2 only: configurations per generation. Default: a fifth of the samples, at least 4."""
    warm_start: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Initial observations for tpe and gp: folders of earlier sweeps, or CSV files with one column per varied key and
    one for the metric. Paths are relative to the working directory."""

    synchronous: bool = False
    """Fixes the order of proposals and prunings, so that the whole sweep is reproducible: with any number of concurrent
    trials, with or without Ray, interrupted or not. Trials then wait for each other. Without it, each trial's numbers
    are reproducible, but proposals and prunings depend on the order in which results arrive."""
    batch: PositiveInt | None = None
    """For a synchronous search that learns from results: number of trials proposed together once all earlier ones have
    ended. Default: 8; nsga2: its generation."""

    @property
    def learns(self) -> bool:
        """Whether proposals depend on results."""
        return self.name in ("tpe", "cmaes", "gp", "nsga2")

    @property
    def generation(self) -> int:
        """Configurations per generation of nsga2. With Optuna's default (50) most sweeps are one random generation."""
        return self.population_size or max(4, self.samples // 5)

    @property
    def together(self) -> int:
        """Number of trials proposed together once all earlier ones have ended; 0 if proposals do not wait."""
        if not (self.synchronous and self.learns):
            return 0
        return self.batch or (self.generation if self.name == "nsga2" else 8)

    @model_validator(mode="after")
    def _has_batches(self) -> Search:
        if self.batch is not None and not self.together:
            raise ValueError("batch belongs to a synchronous search by tpe, cmaes, gp or nsga2")
        return self

    @model_validator(mode="after")
    def _has_a_population(self) -> Search:
        if self.population_size is not None and self.name != "nsga2":
            raise ValueError(f"{self.name} has no population_size; nsga2 has")
        if self.warm_start and self.name not in ("tpe", "gp"):
            raise ValueError(f"{self.name} learns nothing from warm_start; tpe and gp do")
        return self


_STORED = {"name", "min_steps", "reduction_factor", "min_trials", "false_prune_rate"}
"""The fields of a stored sweep's pruner, whichever it was, before each pruner had its own."""


def _own_fields(pruner: Any) -> Any:
    """The section of an old run directory without the fields that its pruner never read."""
    if not (isinstance(pruner, dict) and pruner.keys() == _STORED and pruner["name"] in classes(Pruner)):
        return pruner
    unread = {"none": _STORED - {"name"}, "median": {"reduction_factor"}}.get(pruner["name"], set())
    return {key: value for key, value in pruner.items() if key not in unread}


NO_PRUNER = NoPruner()


class Scheduler(Component):
    """How trials interact while they train: not at all, or as a population (Jaderberg et al. 2017)."""

    name: Literal["none", "pbt"] = "pbt"
    interval: PositiveInt = 250
    """Training steps per generation; a multiple of training.eval_every."""
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """Share of trials that inherit (the worst), and of those that they inherit from (the best)."""
    resample: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Probability that a value is drawn at random instead of being perturbed."""
    factors: Annotated[tuple[PositiveFloat, PositiveFloat], Field(strict=False)] = (0.8, 1.25)
    """A perturbed number is multiplied by one of these factors."""


NO_SCHEDULER = Scheduler(name="none")


AUTO: Final = "auto"


def _gpu(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != AUTO and not (number and 0 <= value <= 1):
        raise ValueError(f"{value!r} should be a share of a GPU from 0 to 1, or auto; no trial can use more than one")
    return value if value == AUTO else float(value)


_Number = Annotated[float, Field(ge=0, le=1)]


class _Share(Component):
    """The long form of `gpu`: `{share: 0.25, required: true}`."""

    share: _Number
    required: bool = False


_Gpu = _Number | Literal["auto"] | _Share
"""The type of `gpu` in a file; a validator checks further rules."""


class Resources(Component):
    """The resources of one trial."""

    cpu: PositiveInt = 1
    """CPU cores per trial, also the number of torch's threads."""
    gpu: Annotated[float | Literal["auto"], PlainValidator(_gpu, json_schema_input_type=_Gpu)] = 0.0
    """Share of a GPU, from 0 to 1; ignored, with a note, if no node has a GPU. `auto`: measured.

    `{share: 0.25, required: true}` also sets `gpu_required`."""
    gpu_required: bool = False
    """Whether the sweep refuses to run if no node has a GPU."""

    timeout: PositiveFloat | None = None
    """A trial that does not report for this many seconds is killed. None: no limit."""
    retries: NonNegativeInt = 1
    """Number of restarts from the checkpoint after a trial's process dies; after that the trial is FAILED."""
    price_per_hour: PositiveFloat | None = None
    """Price of one hour of all machines of the sweep together, in any currency; `--dry-run` then estimates the cost."""

    @property
    def share(self) -> float:
        """`gpu` as a number. Raises ValueError as long as it is `auto`: a sweep that has begun has a number."""
        if self.gpu == AUTO:
            raise ValueError("gpu = 'auto' is not measured yet")
        return self.gpu

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        """Splits `gpu: {share: …, required: …}` into two fields; the field's own check reports other mappings."""
        gpu = data.get("gpu") if isinstance(data, dict) else None
        if not (isinstance(gpu, dict) and "share" in gpu and gpu.keys() <= {"share", "required"}):
            return data
        return {**data, "gpu": gpu["share"], "gpu_required": gpu.get("required", False)}


class Budget(Component):
    """The budget of a sweep. Checked at each report; once it is spent, unfinished trials are STOPPED."""

    seconds: PositiveFloat | None = None
    """Wall-clock time of all runs of the command together: resuming does not reset it."""
    steps: PositiveInt | None = None
    """Training steps of all trials and replicates together."""


_Metrics = Annotated[list[str], Field(min_length=1, max_length=2)]


class Replicates(Component):
    """A number of replicates that grows where needed: all trials have `min`, then those with an open verdict get more.

    They are added at fixed looks (docs/verdict.md), when every trial of a look has ended. The allotment therefore does
    not depend on how many trials run at once.
    """

    min: Annotated[int, Field(ge=3)] = 3
    max: Annotated[int, Field(ge=3)] = 20
    until: Literal["decided"] = "decided"

    @model_validator(mode="after")
    def _ordered(self) -> Replicates:
        if self.max < self.min:
            raise ValueError(f"max = {self.max} should be at least min = {self.min}")
        return self


def _kind_of_replicates(value: Any) -> str:
    return "[mapping]" if isinstance(value, Mapping | Replicates) else "[number]"


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
            Field(strict=False, min_length=1, max_length=2),
            BeforeValidator(listed, json_schema_input_type=str | _Metrics),
        ]
        | None
    ) = None
    """The optimised metric. Default: the base's primary metric. Two give a Pareto front; the first is primary."""
    tolerance: Annotated[float, Field(gt=0, lt=10)] = 0.1
    """A method is insensitive to a key if every value is within this fraction of the best; 0.1 means 10 %."""
    judge: Annotated[Judge, PlainValidator(_judge, json_schema_input_type=Judge)] = "last"
    """The values of a trial used for ranking, reports and pruning: those at the end of training (`last`), their mean
    over the last k evaluations (`{mean_of_last: k}`), or those of the best checkpoint (`best`), which is then evaluated
    on new samples."""
    search: Annotated[Search, short(Search), Field(validate_default=True)] = Search()
    pruner: Annotated[Pruner, Named(Pruner, short=True, default="asha"), BeforeValidator(_own_fields)] = NO_PRUNER
    """How hopeless trials are stopped early. Without this section nothing is pruned. With it, the default pruner is
    asha."""
    scheduler: Annotated[Scheduler, short(Scheduler)] = NO_SCHEDULER
    replicates: Annotated[
        Annotated[PositiveInt, Tag("[number]")] | Annotated[Replicates, Tag("[mapping]")],
        Discriminator(_kind_of_replicates),
    ] = 3
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
        if judge == "best" and len(info.data.get("metric") or ()) == 2:
            raise ValueError("best is by one metric, but two are optimised; legal: last, {mean_of_last: k}")
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
        if search.warm_start and len(info.data.get("metric") or ()) == 2:
            raise ValueError("warm_start has one metric, but two are optimised")
        if search.name == "cmaes" and len(info.data.get("metric") or ()) == 2:
            raise ValueError("cmaes optimises one metric, not two; legal for two: grid, random, tpe, gp, qmc, nsga2")
        return search

    @field_validator("pruner")
    @classmethod
    def _one_metric(cls, pruner: Pruner, info: ValidationInfo) -> Pruner:
        if pruner.name != "none" and len(info.data.get("metric") or ()) == 2:
            raise ValueError(f"{pruner.name} judges by one metric, but two are optimised; legal: none")
        if pruner.needs_completed and "search" in info.data and info.data["search"].synchronous:
            raise ValueError(
                f"{pruner.name} reads which trials are completed, which a synchronous search does not fix; "
                "legal: asha, hyperband, median"
            )
        return pruner

    @field_validator("scheduler")
    @classmethod
    def _population_alone(cls, scheduler: Scheduler, info: ValidationInfo) -> Scheduler:
        if scheduler.name == "none" or not {"search", "pruner"} <= info.data.keys():
            return scheduler
        search, pruner = info.data["search"], info.data["pruner"]
        if pruner.name != "none":
            raise ValueError(
                f"pbt replaces the worst trials, so it does not work with pruner {pruner.name}; legal: none"
            )
        if info.data.get("judge", "last") != "last":
            raise ValueError("pbt continues from the last checkpoints, so judge must be last")
        if len(info.data.get("metric") or ()) == 2:
            raise ValueError("pbt ranks by one metric, but two are optimised")
        if search.name not in (legal := ("grid", "random", "qmc")):
            raise ValueError(
                f"{search.name} learns from finished trials, but pbt draws all at the start; legal: {', '.join(legal)}"
            )
        return scheduler

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
        if len(info.data.get("metric") or ()) == 2:
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
    _provenance: Provenance | None = PrivateAttr(None)

    def config(self, assignment: Assignment) -> TrialConfig:
        """The trial configuration with these values. Raises pydantic's ValidationError if they are not legal."""
        return TrialConfig.model_validate(assigned(self.base, expanded(assignment, self.space)))

    def located(self, provenance: Provenance) -> Sweep:
        """This sweep with these origins of its values."""
        self._provenance = provenance
        return self

    def where(self, path: Path) -> str:
        """The origin of a key of the sweep: file and line, or option."""
        return self._provenance.sweep.where(path) if self._provenance else self.name

    def where_trial(self, path: Path) -> str:
        """The origin of a part of the trials' configuration."""
        return self._provenance.trial.where(path) if self._provenance else self.name
