"""The section `search` of a space file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from gramtune.components import Component

SAMPLERS: Mapping[str, str] = {
    "grid": "every combination of the values; no sampler",
    "random": "independent draws",
    "tpe": "tree-structured Parzen estimator (Bergstra et al. 2011)",
    "cmaes": "covariance matrix adaptation evolution strategy (Hansen 2016)",
    "gp": "Bayesian optimisation with a Gaussian process",
    "qmc": "quasi-Monte Carlo: points of a scrambled Sobol sequence",
    "nsga2": "genetic algorithm for several metrics (Deb et al. 2002)",
}
"""One line on each search, by name."""


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
