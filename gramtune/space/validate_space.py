"""Checks every value of every varied key before anything starts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from gramtune.errors import Issue, did_you_mean
from gramtune.space.domain import Assignment, Domain, assigned, corner_assignment, expanded, grid_assignments, lookup
from gramtune.space.issues import model_issues
from gramtune.space.origins import Origins
from gramtune.space.short_forms import expand_name
from gramtune.space.yaml_reader import Document
from gramtune.training.config import TrialConfig

CORNERS = 64
"""Number of random combinations of a sampled space that are checked before anything starts."""
MAX_TRIALS = 10_000
"""Most trials of a grid; all of them are checked."""


def space_issues(document: Document, raw: Mapping[str, Any], origins: Origins) -> list[Issue]:
    """Issues of the base, then of each value of each varied key, then of combinations."""
    issues = config_errors(raw["base"], origins)
    space = legal_domains(raw.get("space"))
    broken: set[str] = set()
    for key in space:
        if conditions := _condition_issues(document, key, space, raw["base"]):
            broken.add(key)
            issues += conditions
        elif broken.isdisjoint(space[key].when):
            issues += _value_issues(document, raw["base"], key, space, origins)
    return issues or _combination_issues(document, raw, space, origins)


def _value_issues(
    document: Document, base: Mapping[str, Any], key: str, space: Mapping[str, Domain], origins: Origins
) -> list[Issue]:
    """Issues of each value of one varied key, with values of other keys under which it is active."""
    issues: list[Issue] = []
    domain = space[key]
    kind = next(iter(domain.model_dump(exclude_none=True)))
    beside = _beside(key, space)
    for index, value in enumerate(domain.probes):
        given = {**beside, key: value}
        chosen = {other: given[other] for other in space if other in given}  # bundles override the base
        places = _places(document, chosen, space)
        if not domain.cases:
            places[key] = document.where(("space", key, kind, index))
        varied = Origins(origins.document, {**origins.overrides, **places})
        issues += config_errors(assigned(base, expanded(chosen, space)), varied)
    return issues


def _combination_issues(
    document: Document, raw: Mapping[str, Any], space: Mapping[str, Domain], origins: Origins
) -> list[Issue]:
    """Issues of the first illegal combination of values, and an issue if a grid has too many trials."""
    sampler = expand_name(raw.get("search", {}))
    grid = not isinstance(sampler, Mapping) or sampler.get("name", "grid") == "grid"
    if not space or (grid and not all(domain.enumerable for domain in space.values())):
        return []  # reported elsewhere
    rng = random.Random(0)
    corners = (corner_assignment(space, raw["base"], rng) for _ in range(CORNERS))
    assignments = grid_assignments(space, raw["base"]) if grid else corners
    places = {key: document.where(("space", key)) for key in space}
    for count, assignment in enumerate(assignments):
        if count == MAX_TRIALS:
            rule = "use fewer values, or `search: {name: random, samples: …}`"
            return [
                Issue(document.where(("space",)), f"the grid of `space` has more than {MAX_TRIALS:,} trials; {rule}")
            ]
        paths = expanded(assignment, space)
        by = {
            path: place for key, place in places.items() if key in assignment for path in _paths(key, assignment, space)
        }
        if issues := config_errors(
            assigned(raw["base"], paths), Origins(origins.document, {**origins.overrides, **by})
        ):
            chosen = ", ".join(f"{key} = {value!r}" for key, value in assignment.items())
            return [Issue(issue.where, f"{issue.message}; this happens for {chosen}") for issue in issues]
    return []


def _paths(key: str, assignment: Assignment, space: Mapping[str, Domain]) -> Iterable[str]:
    """The dotted paths that the value of a varied key sets."""
    cases = space[key].cases
    return cases[assignment[key]] if cases else (key,)


def legal_domains(space: Any) -> dict[str, Domain]:
    """The domains that are legal by themselves; the others are reported elsewhere."""
    domains: dict[str, Domain] = {}
    for key, value in space.items() if isinstance(space, dict) else ():
        with suppress(ValidationError):
            domains[str(key)] = Domain.model_validate(value)
    return domains


def _beside(key: str, space: Mapping[str, Domain]) -> dict[str, Any]:
    """Values of other keys for checking `key`: values under which it is active, and one case of every `cases` key.

    Every trial has a case, so the base alone need not be a trial: a key may vary a field that only the cases add.
    """
    first = {other: next(iter(domain.cases)) for other, domain in space.items() if domain.cases and not domain.when}
    return {**first, **_enabling(key, space)}


def _places(document: Document, chosen: Assignment, space: Mapping[str, Domain]) -> dict[str, str]:
    """The origin of each path that these values set: the line in the bundle of a case, or of the varied key."""
    bundled: dict[str, str] = {}
    plain: dict[str, str] = {}
    for key, value in chosen.items():
        if cases := space[key].cases:
            bundled |= {path: document.where(("space", key, "cases", value, path)) for path in cases.get(value, ())}
        else:
            plain[key] = document.where(("space", key))
    return {**bundled, **plain}


def _enabling(key: str, space: Mapping[str, Domain]) -> dict[str, Any]:
    """Values of other keys under which `key` is active: those of its condition, of their conditions, and so on."""
    chosen: dict[str, Any] = {}
    conditions = dict(space[key].when)
    for other in reversed(_above(key, space)):
        if other in conditions:
            wanted = conditions[other]
            chosen[other] = wanted[0] if isinstance(wanted, list) else wanted
            conditions = {**space[other].when, **conditions}
    return chosen


def _above(key: str, space: Mapping[str, Domain]) -> list[str]:
    """The varied keys above this one. Conditions can only refer to these, so they cannot be circular."""
    return list(space)[: list(space).index(key)]


def _condition_issues(
    document: Document, key: str, space: Mapping[str, Domain], base: Mapping[str, Any]
) -> list[Issue]:
    """Issues of a condition: it must name a key that is varied above this one or is in the base, and legal values."""
    issues = []
    above = _above(key, space)
    for other, wanted in space[key].when.items():
        where = document.where(("space", key, "when", other))
        if wanted == []:
            issues.append(Issue(where, f"space.{key}.when: {other} = [] should be a value, or a list of at least 1"))
        if other in above:
            values = space[other].values
            for value in wanted if isinstance(wanted, list) else [wanted]:
                if values is not None and value not in values:
                    legal = ", ".join(map(str, values))
                    issues.append(Issue(where, f"space.{key}.when: {other} is never {value!r}; legal: {legal}"))
        elif other in space or lookup(base, other) is None:
            rule = "should be a key that is varied above this one, or a key of the base"
            issues.append(Issue(where, f"space.{key}.when: {other!r} {rule}" + did_you_mean(other, above)))
    return issues


def config_errors(raw: Mapping[str, Any], origins: Origins) -> list[Issue]:
    """The issues that the models find in a trial configuration, with the origin of each value."""
    try:
        TrialConfig.model_validate(raw)
    except ValidationError as error:
        return model_issues(TrialConfig, error, origins.where)
    return []
