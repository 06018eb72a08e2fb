"""Checks `search.points`: each value must be a legal value of its key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from gramtune.errors import Issue, Path, did_you_mean, dotted
from gramtune.space.domain import fitting
from gramtune.space.sweep import Sweep


def point_issues(sweep: Sweep, where: Callable[[Path], str]) -> Iterator[Issue]:
    """Issues of `search.points`: unknown or inactive keys, values outside the domain, repeated points."""
    complete: dict[str, int] = {}
    for index, point in enumerate(sweep.search.points):
        path = ("search", "points", index)
        issues = list(_issues(sweep, point, path, where))
        yield from issues
        if issues or not _is_complete(sweep, point):
            continue
        key = repr(sorted((key, fitting(sweep.space[key], value)) for key, value in point.items()))
        if key in complete:
            rule = "should be distinct from the others"
            yield Issue(where(path), f"{dotted(path)} = {point!r} {rule}; it repeats search.points[{complete[key]}]")
        complete.setdefault(key, index)
        try:
            sweep.config({key: fitting(sweep.space[key], value) for key, value in point.items()})
        except ValidationError as error:
            yield Issue(where(path), f"{dotted(path)} = {point!r} is not a legal trial: {error.errors()[0]['msg']}")


def _issues(sweep: Sweep, point: Mapping[str, Any], path: Path, where: Callable[[Path], str]) -> Iterator[Issue]:
    for key, value in point.items():
        place, name = where((*path, key)), f"{dotted(path)}: {key}"
        if key not in sweep.space:
            yield Issue(place, f"{dotted(path)}: unknown key {key!r}{did_you_mean(key, sweep.space)}")
            continue
        domain = sweep.space[key]
        open_keys = [other for other in domain.when if other in sweep.space and other not in point]
        if not open_keys and not domain.active(point, sweep.base):
            conditions = " and ".join(f"{other} is {wanted}" for other, wanted in domain.when.items())
            yield Issue(place, f"{name} exists only where {conditions}; leave it out of this point")
        try:
            fitting(domain, value)
        except ValueError as error:
            yield Issue(place, f"{name} = {value!r} {error}")


def _is_complete(sweep: Sweep, point: Mapping[str, Any]) -> bool:
    """Whether the point sets every active key."""
    return all(key in point or not domain.active(point, sweep.base) for key, domain in sweep.space.items())
