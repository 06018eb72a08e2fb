"""Plans a pilot: a small sweep before a large one, with some values of each key and a few seeds."""

from __future__ import annotations

import re
from typing import NamedTuple

from gramtune.errors import Issue, SpecError
from gramtune.space.budget import Budget
from gramtune.space.domain import Domain
from gramtune.space.plan import Plan, recorded_plan
from gramtune.space.pruner import NO_PRUNER


class PilotSize(NamedTuple):
    """The size of a pilot, such as `3x3`: values of each key, and seeds."""

    values: int
    seeds: int


def pilot_size(text: str) -> PilotSize:
    """Reads a size such as `3x3`. Raises SpecError for any other text."""
    found = re.fullmatch(r"(\d{1,3})x(\d{1,3})", text)
    if not found or min(size := PilotSize(int(found[1]), int(found[2]))) < 2:
        rule = "should be VALUESxSEEDS, each at least 2, for example 3x3"
        raise SpecError([Issue("--pilot", f"{text!r} {rule}")])
    return size


def pilot_plan(plan: Plan, size: PilotSize) -> Plan:
    """The plan of the pilot: the outer values of every grid and some between them, and all cases of every comparison.

    The pilot is a separate sweep, `<name>-pilot`, without pruner and budget. Raises SpecError for a sampled sweep.
    """
    sweep = plan.sweep
    if sweep.search.name != "grid":
        why = f"{sweep.search.name} draws its values while it runs; legal with a pilot: grid"
        raise SpecError([Issue("--pilot", why)])
    base = {**sweep.base, "training": {**sweep.base["training"], "replicates": size.seeds}}
    space = {key: _thinned(domain, size.values) for key, domain in sweep.space.items()}
    update = {"name": f"{sweep.name}-pilot", "base": base, "space": space, "replicates": size.seeds}
    return recorded_plan(sweep.model_copy(update={**update, "pruner": NO_PRUNER, "budget": Budget()}))


def _thinned(domain: Domain, values: int) -> Domain:
    if domain.grid is None:
        return domain
    last = len(domain.grid) - 1
    chosen = sorted({round(i * last / (values - 1)) for i in range(values)})
    return domain.model_copy(update={"grid": tuple(domain.grid[i] for i in chosen)})
