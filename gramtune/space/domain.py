"""Domains of varied keys, and the combinations of a grid."""

from __future__ import annotations

import copy
import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AliasGenerator, ConfigDict, Field, PositiveFloat, model_validator

from gramtune.components import Component
from gramtune.registry import classes
from gramtune.training.config import SECTIONS

Assignment = Mapping[str, Any]
"""Values of the varied keys, by dotted path (or the name of a key with `cases`)."""
Values = Annotated[tuple[Any, ...], Field(min_length=1, max_length=2000, strict=False)]
Bounds = Annotated[tuple[float, float], Field(strict=False)]
Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""Integers that float64 represents exactly, because samplers compute in float64."""
IntBounds = Annotated[tuple[Whole, Whole], Field(strict=False)]

_KINDS = ("grid", "choice", "uniform", "loguniform", "int", "logint", "cases")


class Domain(Component):
    """The domain of one varied key: exactly one of the kinds. Bounds are inclusive everywhere."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(alias=lambda name: {"int_": "int"}.get(name, name)),
        serialize_by_alias=True,
        json_schema_extra={"oneOf": [{"required": [kind]} for kind in _KINDS]},
    )

    grid: Values | None = None
    """All of these values are tried."""
    choice: Values | None = None
    """One of these values is sampled; they have no order."""
    uniform: Bounds | None = None
    """A number from low to high."""
    loguniform: Bounds | None = None
    """A positive number from low to high, uniform on a log scale."""
    int_: IntBounds | None = None
    """A whole number from low to high."""
    logint: IntBounds | None = None
    """A positive whole number from low to high, uniform on a log scale."""
    cases: Annotated[dict[str, dict[str, Any]], Field(min_length=1)] | None = None
    """Named bundles of values, such as the methods of a comparison. The key is then a name, not a path."""
    step: PositiveFloat | None = None
    """Distance between neighbouring values of `uniform` and `int`."""
    when: dict[str, Any] = Field(default_factory=dict)
    """The key exists only if each of these keys has the given value, or one of the given values."""

    @model_validator(mode="after")
    def _one_kind(self) -> Domain:
        kinds = [name for name in _KINDS if getattr(self, "int_" if name == "int" else name) is not None]
        if len(kinds) != 1:
            given = ", ".join(kinds) or "none"
            raise ValueError(f"exactly one kind of domain is needed, got {given}; legal: {', '.join(_KINDS)}")
        self._check_values()
        self._check_bounds()
        return self

    @property
    def values(self) -> tuple[Any, ...] | None:
        """All values of a finite domain; None for a range."""
        return self.grid or self.choice or (tuple(self.cases) if self.cases else None)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Low and high of a range; None for a finite domain."""
        return self.uniform or self.loguniform or self.int_ or self.logint

    @property
    def whole(self) -> bool:
        """Whether a range holds whole numbers."""
        return self.int_ is not None or self.logint is not None

    @property
    def log(self) -> bool:
        """Whether a range is uniform on a log scale."""
        return self.loguniform is not None or self.logint is not None

    @property
    def enumerable(self) -> bool:
        """Whether a grid search enumerates it: `grid`, or the `cases` of a comparison."""
        return self.grid is not None or self.cases is not None

    @property
    def probes(self) -> tuple[Any, ...]:
        """Values to check before anything starts: all of a finite domain, the ends of a range."""
        return self.values or self.bounds or ()

    def draw(self, rng: random.Random) -> Any:
        """A random value: uniform over a finite domain, or over a range on its scale."""
        if self.bounds is None:
            return rng.choice(self.values or ())
        low, high = self.bounds
        value = math.exp(rng.uniform(math.log(low), math.log(high))) if self.log else rng.uniform(low, high)
        return self._within(value)

    def neighbour(self, value: Any, factor: float, rng: random.Random) -> Any:
        """A number times `factor`, or the previous or next value of a list; clamped to the domain."""
        if self.bounds is not None:
            return self._within(value * factor)
        values = list(self.values or ())
        place = values.index(value) + rng.choice((-1, 1))
        return values[min(max(place, 0), len(values) - 1)]

    def _within(self, value: float) -> float | int:
        """The nearest number of the range."""
        assert self.bounds is not None
        low, high = self.bounds
        if self.step is not None:
            value = low + round((value - low) / self.step) * self.step
        return self.as_written(min(max(value, low), high))

    def as_written(self, value: float) -> float | int:
        """A number of a range with a step, rounded as people write it: 0.3, not 3 · 0.1 = 0.30000000000000004."""
        if self.whole:
            return round(value)
        if self.step is None or self.bounds is None:
            return value
        decimals = max(-int(Decimal(repr(number)).as_tuple().exponent) for number in (self.bounds[0], self.step))
        return round(value, max(decimals, 0))

    def describe(self) -> str:
        """The domain as text: `4, 8, 16` or `0.1 … 1 (log)`, with its condition."""
        if self.bounds:
            spacing = " (log)" if self.log else f" in steps of {self.step:g}" if self.step else ""
            text = f"{self.bounds[0]:g} … {self.bounds[1]:g}{spacing}"
        else:
            text = ", ".join(map(str, self.values or ()))
        return text + "".join(f", where {key} is {wanted}" for key, wanted in self.when.items())

    def active(self, assignment: Assignment, base: Mapping[str, Any]) -> bool:
        """Whether the key is active with these values; keys that are not varied have the base's values."""
        for key, wanted in self.when.items():
            value = assignment.get(key, lookup(base, key))
            if value not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
        return True

    def _check_values(self) -> None:
        values = self.grid or self.choice or ()
        if repeated := [v for i, v in enumerate(values) if v in values[:i]]:
            raise ValueError(f"values must be distinct; {repeated[0]!r} is repeated")

    def _check_bounds(self) -> None:
        if self.bounds is None:
            if self.step is not None:
                raise ValueError("step goes with uniform or int")
            return
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"bounds [{low:g}, {high:g}]: the first must be below the second")
        if self.log and (low <= 0 or self.step is not None):
            raise ValueError("a log scale needs a positive lower bound and no step")
        if self.step is not None and self.whole and self.step != int(self.step):
            raise ValueError(f"step {self.step:g}: a whole number goes with int")


def fitting(domain: Domain, value: Any) -> Any:
    """The value of the domain that equals `value`. Raises ValueError with the rule if there is none."""
    if domain.values is not None:
        for legal in domain.values:
            if isinstance(legal, bool) == isinstance(value, bool) and _plain(legal) == _plain(value):
                return legal
        raise ValueError(f"should be one of the key's values; legal: {', '.join(map(str, domain.values))}")
    assert domain.bounds is not None
    low, high = domain.bounds
    kinds = int if domain.whole else (int, float)
    legal_kind = isinstance(value, kinds) and not isinstance(value, bool)
    if not legal_kind or not low <= value <= high or not _on_step(domain, value):
        steps = f" in steps of {domain.step:g}" if domain.step else ""
        hint = "; a number in quotes is a string" if isinstance(value, str) else ""
        kind = "a whole number" if domain.whole else "a number"
        raise ValueError(f"should be {kind} from {low:g} to {high:g}{steps}{hint}")
    return value if domain.whole else float(value)


def _plain(value: Any) -> Any:
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _on_step(domain: Domain, value: float) -> bool:
    if domain.step is None or domain.bounds is None:
        return True
    steps = (value - domain.bounds[0]) / domain.step
    return abs(steps - round(steps)) < 1e-6


def size_of(space: Mapping[str, Domain], base: Mapping[str, Any], limit: int) -> int | None:
    """Number of configurations, counted up to `limit`; None for a continuous range."""
    assignments: Iterator[dict[str, Any]] = iter([{}])
    for key, domain in space.items():
        if (values := _all_values(domain)) is None:
            return None
        assignments = _extended(assignments, key, domain, base, values)
    return sum(1 for _ in itertools.islice(assignments, limit))


def _all_values(domain: Domain) -> Sequence[Any] | None:
    """All values of a list, an integer range or a range with steps; None for any other range."""
    if domain.values is not None:
        return domain.values
    assert domain.bounds is not None
    low, high = domain.bounds
    if domain.whole:
        return range(int(low), int(high) + 1, int(domain.step or 1))
    return range(int((high - low) / domain.step + 1e-9) + 1) if domain.step else None


def grid_assignments(space: Mapping[str, Domain], base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of finite domains; the last key varies fastest, inactive keys are left out."""
    assignments: Iterator[dict[str, Any]] = iter([{}])
    for key, domain in space.items():
        values = domain.values
        assert values is not None, "a grid search is checked to have finite domains"
        assignments = _extended(assignments, key, domain, base, values)
    return assignments


def _extended(
    assignments: Iterator[dict[str, Any]], key: str, domain: Domain, base: Mapping[str, Any], values: Sequence[Any]
) -> Iterator[dict[str, Any]]:
    """Every assignment combined with every value of one more key. Lazy: the product can be too large for a list."""
    for shorter in assignments:
        if domain.active(shorter, base):
            yield from ({**shorter, key: value} for value in values)
        else:
            yield shorter


def corner_assignment(space: Mapping[str, Domain], base: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """A random combination of values and ends of ranges, where mismatched shapes are most likely to show."""
    assignment: dict[str, Any] = {}
    for key, domain in space.items():
        if domain.active(assignment, base):
            assignment[key] = rng.choice(domain.probes)
    return assignment


def expanded(assignment: Assignment, space: Mapping[str, Domain]) -> dict[str, Any]:
    """The assignment with every case replaced by its bundle; keys varied by themselves override a bundle."""
    paths: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    for key, value in assignment.items():
        if (domain := space.get(key)) and domain.cases:
            paths |= domain.cases[value]
        else:
            plain[key] = value
    return paths | plain


def assigned(base: Mapping[str, Any], paths: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `base` with each dotted key set. Missing sections are created; the models then check them.

    A section given only by its name (`optimizer.schedule: cosine`) keeps that name.

    If `objective.name` (or that of data, network or optimizer) changes, the fields of the base that the new component
    also has are kept; the others are dropped.
    """
    result: dict[str, Any] = copy.deepcopy(dict(base))
    for key in sorted(paths, key=lambda key: (key.count("."), not key.endswith(".name"))):  # wholes before parts
        *sections, leaf = key.split(".")
        place = result
        for section in sections:
            inner = place.get(section)
            short = {"name": inner} if isinstance(inner, str) else {}
            place[section] = inner = inner if isinstance(inner, dict) else short
            place = inner
        if leaf == "name" and len(sections) == 1 and place.get("name") != paths[key]:
            _keep_common(place, sections[0], paths[key])
        place[leaf] = copy.deepcopy(paths[key])
    return result


def _keep_common(section: dict[str, Any], kind: str, name: Any) -> None:
    new = classes(SECTIONS[kind]).get(name) if kind in SECTIONS and isinstance(name, str) else None
    if new:
        for field in [field for field in section if field not in new.model_fields]:
            del section[field]


def lookup(base: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted path; None if the path is missing."""
    value: Any = base
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
