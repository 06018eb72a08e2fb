"""What a sweep is: a space file on a base, checked in full before anything starts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, ValidationInfo, field_validator

from gramtune.components import Component
from gramtune.sweep.faults import Fault, Path, SpecError, clipped, did_you_mean, dotted, model_faults
from gramtune.sweep.space import (
    Assignment,
    Domain,
    assigned,
    corner_assignment,
    expanded,
    grid_assignments,
    lookup,
)
from gramtune.sweep.yaml_source import Document, parse_value, read_yaml
from gramtune.training.config import TrialConfig

CORNERS = 64
"""Random combinations of the values of a sampled space that are tried before anything starts."""
MAX_TRIALS = 10_000
"""Of a grid."""


class Search(Component):
    """How configurations are proposed: every one of a grid, or Optuna's samplers by their names."""

    name: Literal["grid", "random", "tpe", "cmaes", "gp", "qmc"] = "grid"
    samples: PositiveInt = 20
    """Trials of a sweep that samples; a grid has as many as it has."""
    seed: NonNegativeInt = 0
    """Of the sampler."""
    points: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()
    """Values of some or all varied keys to try first."""


class Pruner(Component):
    """How hopeless trials are stopped early: asynchronous successive halving, Hyperband's brackets of it, or median."""

    name: Literal["none", "asha", "hyperband", "median"] = "none"
    min_steps: PositiveInt | None = None
    """Training steps before the first decision; default: the first evaluation."""
    reduction_factor: Annotated[int, Field(ge=2)] = 4
    """η: a trial goes on if it is among the best 1/η of those that have come as far; rungs are η apart."""
    false_prune_rate: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """Noise-aware: stop only if the replicates show, at this one-sided error rate, that the trial is worse than the
    threshold; without it the means alone decide."""


class Resources(Component):
    """What one trial asks for."""

    cpu: PositiveInt = 1
    """Cores, and threads that torch may use."""
    gpu: Annotated[float, Field(ge=0)] = 0
    """Share of a GPU, or a whole number of them; dropped, and said so, where there is none."""

    timeout: PositiveFloat | None = None
    """Seconds within which a trial must report again; one that hangs is killed. None: for ever."""
    retries: NonNegativeInt = 1
    """Times that a trial whose process dies goes on from its checkpoint before it is FAILED."""

    @field_validator("gpu")
    @classmethod
    def _whole_above_one(cls, gpu: float) -> float:
        if gpu > 1 and gpu != int(gpu):
            raise ValueError(f"{gpu} GPUs: above 1 it must be a whole number")
        return gpu


class Budget(Component):
    """What a sweep may spend; when it is reached, running trials end as PRUNED and no more are started."""

    seconds: PositiveFloat | None = None
    """Wall-clock time of one run of the command."""
    steps: PositiveInt | None = None
    """Training steps of all trials and replicates together."""


class Sweep(Component):
    """A space file: what varies, on what base, how often and with what."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the folder under `runs/` and of the run in MLflow."""
    about: str = ""
    """The question, in a sentence."""
    base: str | dict[str, Any]
    """A trial configuration: a file beside this one, or inline."""
    space: Annotated[dict[str, Domain], Field(min_length=1, max_length=100)]
    """Domain of each varied key, by dotted path into the base."""
    metric: str | None = None
    """Primary metric where it is not the base's."""
    replicates: PositiveInt = 3
    search: Annotated[Search, Field(validate_default=True)] = Search()
    pruner: Pruner = Pruner()
    budget: Budget = Budget()
    resources: Resources = Resources()

    @field_validator("space")
    @classmethod
    def _comparable(cls, space: dict[str, Domain]) -> dict[str, Domain]:
        if fixed := [key for key in ("metric", "training.replicates") if key in space]:
            raise ValueError(f"{fixed[0]} cannot vary: trials are compared by the same metric over the same seeds")
        return space

    @field_validator("search")
    @classmethod
    def _fits_domains(cls, search: Search, info: ValidationInfo) -> Search:
        for key, domain in info.data.get("space", {}).items():
            if search.name == "grid" and not domain.enumerable:
                raise ValueError(f"grid needs grid or cases, but {key} is another kind; or use random, tpe, …")
            if search.name != "grid" and domain.grid is not None:
                raise ValueError(f"{search.name} samples, but {key} is a grid; use choice, uniform, int, … there")
        return search

    def config(self, assignment: Assignment) -> TrialConfig:
        """The trial configuration with these values. Raises pydantic's ValidationError if they are not legal."""
        return TrialConfig.model_validate(assigned(self.inline_base, expanded(assignment, self.space)))

    @property
    def inline_base(self) -> dict[str, Any]:
        """The base as a trial configuration; `load_sweep` has put it inline."""
        assert isinstance(self.base, dict)
        return self.base


class Overrides(NamedTuple):
    """What the command line changes."""

    base: str | None = None
    name: str | None = None
    replicates: int | None = None
    samples: int | None = None
    """Trials of a sweep that samples."""
    time_budget: float | None = None
    """Seconds."""
    set: tuple[str, ...] = ()
    """`key=value`, the key a dotted path into the base, the value YAML."""


NO_OVERRIDES = Overrides()


def load_sweep(file: FilePath | str, overrides: Overrides = NO_OVERRIDES) -> Sweep:
    """The sweep of a space file, its base inline and the overrides applied.

    Every value of every varied key has been tried on the models. Raises SpecError with all faults at once.
    """
    document = read_yaml(FilePath(file))
    faults = _shape_faults(document)
    raw = dict(document.data)
    if overrides.base:
        raw["base"] = str(_base_file(overrides.base, FilePath(file).parent))
    faults += _load_base(document, raw, overrides, changed=bool(overrides.base))
    if faults:
        raise SpecError(faults)
    if overrides.replicates is not None:
        raw["replicates"] = overrides.replicates
    if overrides.samples is not None:
        raw["search"] = {**raw.get("search", {}), "samples": overrides.samples}
    if overrides.time_budget is not None:
        raw["budget"] = {**raw.get("budget", {}), "seconds": overrides.time_budget}
    raw["name"] = overrides.name or (
        f"{raw['name']}-{FilePath(overrides.base).stem}" if overrides.base else raw["name"]
    )
    try:
        return Sweep.model_validate(raw)
    except ValidationError as error:  # only what the command line gave is left to be wrong
        options: dict[Path, str] = {("search", "samples"): "--samples", ("budget", "seconds"): "--time-budget"}
        raise SpecError(model_faults(Sweep, error, lambda path: options.get(path, f"--{dotted(path)}"))) from None


def load_config(file: FilePath | str, settings: tuple[str, ...] = ()) -> TrialConfig:
    """The trial configuration of a base file with `--set` applied. Raises SpecError with all faults at once."""
    document = read_yaml(FilePath(file))
    values, faults = _settings(settings)
    faults += _config_faults(assigned(document.data, values), _Origins(document, {k: _option(k) for k in values}))
    if faults:
        raise SpecError(faults)
    return TrialConfig.model_validate(assigned(document.data, values))


class _Origins(NamedTuple):
    """Who gave a value: an override or varied key by its dotted path, else the base document."""

    document: Document
    overrides: Mapping[str, str]

    def where(self, path: Path) -> str:
        for length in range(len(path), 0, -1):
            if (key := dotted(path[:length])) in self.overrides:
                return self.overrides[key]
        for key, place in self.overrides.items():
            if path and key.startswith(dotted(path) + "."):  # a missing section that the key had to make
                return place
        return self.document.where(path)


def _shape_faults(document: Document) -> list[Fault]:
    try:
        Sweep.model_validate(document.data)
    except ValidationError as error:
        return model_faults(Sweep, error, document.where)
    return []


def _load_base(document: Document, raw: dict[str, Any], overrides: Overrides, *, changed: bool) -> list[Fault]:
    """Puts the base inline into `raw`, with overrides, and returns every fault of base and space together."""
    values, faults = _settings(overrides.set)
    base = raw.get("base")
    if isinstance(base, dict):
        source = Document(document.file, base, {p[1:]: n for p, n in document.lines.items() if p[:1] == ("base",)})
    elif isinstance(base, str):
        file = FilePath(base) if changed else FilePath(document.file).parent / base
        try:
            source = read_yaml(file, "--base" if changed else document.where(("base",)))
        except SpecError as error:
            return faults + error.faults
    else:
        return faults
    if isinstance(raw.get("metric"), str):
        values.setdefault("metric", raw["metric"])
    replicates = raw.get("replicates", Sweep.model_fields["replicates"].default)
    if overrides.replicates is not None:
        replicates = overrides.replicates
    if isinstance(replicates, int):  # anything else is a fault of the space file already
        values["training.replicates"] = replicates
    origins = {key: _option(key) for key in values}
    origins["training.replicates"] = document.where(("replicates",)) if overrides.replicates is None else "--replicates"
    if "metric" in raw and "metric=" not in "".join(overrides.set):
        origins["metric"] = document.where(("metric",))
    raw["base"] = assigned(source.data, values)
    raw.pop("metric", None)
    return faults + _space_faults(document, raw, _Origins(source, origins))


def _space_faults(document: Document, raw: Mapping[str, Any], origins: _Origins) -> list[Fault]:
    """Faults of the base alone, of each value of each varied key put into it, then of combinations."""
    faults = _config_faults(raw["base"], origins)
    space = _legal_domains(raw.get("space"))
    broken: set[str] = set()
    for key in space:
        if conditions := _condition_faults(document, key, space, raw["base"]):
            broken.add(key)
            faults += conditions
        elif broken.isdisjoint(space[key].when):
            faults += _value_faults(document, raw["base"], key, space, origins)
    return faults or _combination_faults(document, raw, space, origins)


def _value_faults(
    document: Document, base: Mapping[str, Any], key: str, space: Mapping[str, Domain], origins: _Origins
) -> list[Fault]:
    """Faults of each value of one varied key, beside values of others under which it exists."""
    faults: list[Fault] = []
    domain = space[key]
    kind = next(iter(domain.model_dump(exclude_none=True)))
    beside = _beside(key, space)
    for index, value in enumerate(domain.probes):
        given = {**beside, key: value}
        chosen = {other: given[other] for other in space if other in given}  # bundles win over those above them
        places = _places(document, chosen, space)
        if not domain.cases:
            places[key] = document.where(("space", key, kind, index))
        varied = _Origins(origins.document, {**origins.overrides, **places})
        faults += _config_faults(assigned(base, expanded(chosen, space)), varied)
    return faults


def _combination_faults(
    document: Document, raw: Mapping[str, Any], space: Mapping[str, Domain], origins: _Origins
) -> list[Fault]:
    """The first faults that values have together though each is legal alone; of too many trials."""
    sampler = raw.get("search", {})
    grid = not isinstance(sampler, Mapping) or sampler.get("name", "grid") == "grid"
    if not space or (grid and not all(domain.enumerable for domain in space.values())):
        return []  # a fault already
    rng = random.Random(0)
    corners = (corner_assignment(space, raw["base"], rng) for _ in range(CORNERS))
    assignments = grid_assignments(space, raw["base"]) if grid else corners
    places = {key: document.where(("space", key)) for key in space}
    for count, assignment in enumerate(assignments):
        if count == MAX_TRIALS:
            return [Fault(document.where(("space",)), f"space: a grid of more than {MAX_TRIALS:,} trials")]
        paths = expanded(assignment, space)
        by = {
            path: place for key, place in places.items() if key in assignment for path in _paths(key, assignment, space)
        }
        if faults := _config_faults(
            assigned(raw["base"], paths), _Origins(origins.document, {**origins.overrides, **by})
        ):
            chosen = ", ".join(f"{key} = {value!r}" for key, value in assignment.items())
            return [Fault(fault.where, f"{fault.message}; this is where {chosen}") for fault in faults]
    return []


def _paths(key: str, assignment: Assignment, space: Mapping[str, Domain]) -> Iterable[str]:
    """The dotted paths that the value of a varied key sets."""
    cases = space[key].cases
    return cases[assignment[key]] if cases else (key,)


def _legal_domains(space: Any) -> dict[str, Domain]:
    """The domains that are legal by themselves; the others are faults already."""
    domains: dict[str, Domain] = {}
    for key, value in space.items() if isinstance(space, dict) else ():
        with suppress(ValidationError):
            domains[str(key)] = Domain.model_validate(value)
    return domains


def _beside(key: str, space: Mapping[str, Domain]) -> dict[str, Any]:
    """Values of other varied keys to try `key` with: those under which it exists, and a case of every `cases`.

    A case is always chosen, so the base alone is no trial: a field that it lacks and every case brings may be varied.
    """
    first = {other: next(iter(domain.cases)) for other, domain in space.items() if domain.cases and not domain.when}
    return {**first, **_enabling(key, space)}


def _places(document: Document, chosen: Assignment, space: Mapping[str, Domain]) -> dict[str, str]:
    """Where each path that these values set stands: in the bundle of a case, or under its own key."""
    bundled: dict[str, str] = {}
    plain: dict[str, str] = {}
    for key, value in chosen.items():
        if cases := space[key].cases:
            bundled |= {path: document.where(("space", key, "cases", value, path)) for path in cases.get(value, ())}
        else:
            plain[key] = document.where(("space", key))
    return {**bundled, **plain}


def _enabling(key: str, space: Mapping[str, Domain]) -> dict[str, Any]:
    """Values of other varied keys under which `key` exists: those of its condition, of their conditions, and so on."""
    chosen: dict[str, Any] = {}
    conditions = dict(space[key].when)
    for other in reversed(_above(key, space)):
        if other in conditions:
            wanted = conditions[other]
            chosen[other] = wanted[0] if isinstance(wanted, list) else wanted
            conditions = {**space[other].when, **conditions}
    return chosen


def _above(key: str, space: Mapping[str, Domain]) -> list[str]:
    """The keys that are varied above this one; conditions can be on these alone, so they make no circle."""
    return list(space)[: list(space).index(key)]


def _condition_faults(
    document: Document, key: str, space: Mapping[str, Domain], base: Mapping[str, Any]
) -> list[Fault]:
    """A condition is on a key that is varied above this one, or that the base has, and on values that it can have."""
    faults = []
    above = _above(key, space)
    for other, wanted in space[key].when.items():
        where = document.where(("space", key, "when", other))
        if wanted == []:
            faults.append(Fault(where, f"space.{key}.when: {other} = [] should be a value, or a list of at least 1"))
        if other in above:
            values = space[other].values
            for value in wanted if isinstance(wanted, list) else [wanted]:
                if values is not None and value not in values:
                    legal = ", ".join(map(str, values))
                    faults.append(Fault(where, f"space.{key}.when: {other} is never {value!r}; legal: {legal}"))
        elif other in space or lookup(base, other) is None:
            rule = "should be a key that is varied above this one, or a key of the base"
            faults.append(Fault(where, f"space.{key}.when: {other!r} {rule}" + did_you_mean(other, above)))
    return faults


def _config_faults(raw: Mapping[str, Any], origins: _Origins) -> list[Fault]:
    try:
        TrialConfig.model_validate(raw)
    except ValidationError as error:
        return model_faults(TrialConfig, error, origins.where)
    return []


def _settings(settings: tuple[str, ...]) -> tuple[dict[str, Any], list[Fault]]:
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or not all(key.split(".")):
            faults.append(Fault(_option(setting), "should be key=value, for example training.steps=2000"))
            continue
        try:
            values[key] = parse_value(text)
        except ValueError as error:
            faults.append(Fault(_option(key), str(error)))
    return values, faults


def _option(key: str) -> str:
    return f"--set {clipped(key, 80)}"


def _base_file(base: str, folder: FilePath) -> FilePath:
    """`--base cifar10` is `base/cifar10.yaml` beside the space file; anything with a suffix is a path."""
    return FilePath(base) if FilePath(base).suffix else folder / "base" / f"{base}.yaml"
