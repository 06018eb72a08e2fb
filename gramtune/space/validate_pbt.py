"""Checks which keys can change during training, since population-based training changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gramtune.errors import Issue, Path, count
from gramtune.space.domain import Domain, assigned, grid_assignments
from gramtune.space.sweep import Sweep
from gramtune.training.config import TrialConfig
from gramtune.training.networks import build_networks

_RULE = "pbt can vary training.batch_size, and fields of optimizer and objective that do not change the networks"


def population_issues(sweep: Sweep, where: Callable[[Path], str]) -> Iterator[Issue]:
    """Issues of a sweep with population-based training; empty for any other sweep."""
    if sweep.scheduler.name == "none":
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
