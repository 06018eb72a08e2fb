"""The key `replicates` of a space file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from gramtune.components import Component


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


ReplicatesField = Annotated[
    Annotated[PositiveInt, Tag("[number]")] | Annotated[Replicates, Tag("[mapping]")],
    Discriminator(_kind_of_replicates),
]
