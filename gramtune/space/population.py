"""The section `scheduler` of a space file: population-based training, and what it needs of a sweep.

What it does is in `gramtune/run/population.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from gramtune.components import Component, Pruner
from gramtune.errors import Issue, Path, count
from gramtune.space.domain import Domain, assigned, grid_assignments
from gramtune.space.judge import Judge
from gramtune.space.search import Search
from gramtune.training.config import TrialConfig
from gramtune.training.networks import build_networks

if TYPE_CHECKING:
    from gramtune.space.sweep import Sweep


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

    def obstacle(self, search: Search, pruner: Pruner, judge: Judge, metrics: int) -> str:
        """Why other sections leave no place for a population; empty if they do, or if there is none."""
        if self.name == "none":
            return ""
        if pruner.name != "none":
            return f"pbt replaces the worst trials, so it does not work with pruner {pruner.name}; legal: none"
        if judge != "last":
            return "pbt continues from the last checkpoints, so judge must be last"
        if metrics > 1:
            return "pbt ranks by one metric, but several are optimised"
        if search.name not in (legal := ("grid", "random", "qmc")):
            drawn = "learns from finished trials, but pbt draws all at the start"
            return f"{search.name} {drawn}; legal: {', '.join(legal)}"
        return ""


NO_SCHEDULER = Scheduler(name="none")


_RULE = "pbt can vary training.batch_size, and fields of optimizer and objective that do not change the networks"


def population_issues(sweep: Sweep, where: Callable[[Path], str]) -> Iterator[Issue]:
    """Issues of a sweep with population-based training; empty for any other sweep."""
    if not sweep.is_population:
        return
    for key, domain in sweep.space.items():
        if reason := _fixed(key, domain, sweep.base):
            yield Issue(where(("space", key)), f"space.{key}: {reason} during training; {_RULE}")
    training = sweep.base["training"]
    interval, steps, every = sweep.scheduler.interval, training["steps"], training["eval_every"]
    primary = _every(sweep.base)
    if primary is not None and interval % primary:
        text = f"scheduler.interval = {interval} should be a multiple of the primary metric's every ({primary})"
        yield Issue(where(("scheduler", "interval")), text)
    if interval % every or interval >= steps:
        rule = f"a multiple of training.eval_every ({every}) below training.steps ({steps})"
        yield Issue(where(("scheduler", "interval")), f"scheduler.interval = {interval} should be {rule}")
    size = sweep.search.samples
    if sweep.search.name == "grid":
        size = sum(1 for _ in grid_assignments(sweep.space, sweep.base))
    if int(size * sweep.scheduler.quantile) < 1:
        text = f"scheduler.quantile = {sweep.scheduler.quantile:g} of {count(size, 'trial')} is less than one trial"
        yield Issue(where(("scheduler", "quantile")), text)


def _every(base: Mapping[str, Any]) -> int | None:
    """Training steps between values of the primary metric; None also if the base itself is not a legal trial."""
    try:
        return TrialConfig.model_validate(base).judged_every
    except ValueError:
        return None


def _fixed(key: str, domain: Domain, base: Mapping[str, Any]) -> str:
    """Why the key cannot change; empty if it can."""
    if domain.cases:
        return "a bundle of values cannot change"
    section, _, leaf = key.partition(".")
    if key == "training.batch_size" or (section == "optimizer" and leaf != "name"):
        return ""
    if section != "objective" or leaf == "name":
        return "this key cannot change"
    try:
        shapes = [_shapes(TrialConfig.model_validate(assigned(base, {key: value}))) for value in domain.probes]
    except ValueError:  # legal only with values of other keys; make_plan reports networks that do not fit
        return "this key depends on others and cannot change"
    return (
        "" if all(other == shapes[0] for other in shapes) else "this key changes the networks' shapes and cannot change"
    )


def _shapes(config: TrialConfig) -> list[tuple[str, str, tuple[int, ...]]]:
    networks = build_networks(config, config.data.shape)
    return [(label, name, tuple(t.shape)) for label, n in networks.items() for name, t in n.state_dict().items()]
