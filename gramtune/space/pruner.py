"""The section `pruner` of a space file. The pruners themselves are components, in `gramtune/pruners/`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from gramtune.components import Pruner
from gramtune.pruners.none import NoPruner
from gramtune.registry import Named, classes

_STORED = {"name", "min_steps", "reduction_factor", "min_trials", "false_prune_rate"}
"""The fields of a stored sweep's pruner, whichever it was, before each pruner had its own."""


def _own_fields(pruner: Any) -> Any:
    """The section of an old run directory without the fields that its pruner never read."""
    if not (isinstance(pruner, dict) and pruner.keys() == _STORED and pruner["name"] in classes(Pruner)):
        return pruner
    unread = {"none": _STORED - {"name"}, "median": {"reduction_factor"}}.get(pruner["name"], set())
    return {key: value for key, value in pruner.items() if key not in unread}


NO_PRUNER = NoPruner()
PrunerField = Annotated[Pruner, Named(Pruner, short=True, default="asha"), BeforeValidator(_own_fields)]
