"""`gpu: auto`: measures which share of a GPU per trial gives the highest total throughput."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from gramtune.errors import SpecError
from gramtune.run.capacity import Capacity, grant
from gramtune.run.cost_estimate import TrialCost, sample_configs
from gramtune.run.gpu_shares import CONTEXT
from gramtune.space.plan import Plan, sampled
from gramtune.space.resources import AUTO, Resources
from gramtune.space.validate_space import CORNERS
from gramtune.training.config import TrialConfig

_MOST = 16
"""Most trials on one GPU; each costs a process, a CUDA context and a CPU core."""
_WORTH = 1.1
"""Doubling the number of concurrent trials must raise the throughput by at least this factor."""
_MARGIN = 1.2
"""Assumed memory of a trial as a multiple of the memory measured in a few steps."""
_PASSES = 20


class Measure(Protocol):
    """`cost_estimate.measure`, on this machine or on a node with a GPU."""

    def __call__(
        self, configs: Sequence[TrialConfig], root: Path, device: str, threads: int, passes: int, copies: int
    ) -> list[TrialCost]:
        """The cost of each trial while `copies` of it run at once. Raises SpecError if one fails."""


def settled(plan: Plan, capacity: Capacity, root: Path, measure: Measure, say: Callable[[str], None]) -> Plan:
    """The plan with a number instead of `gpu: auto`; prints a line that explains the number.

    Raises SpecError if no node has a GPU that the sweep requires, or if a trial cannot be measured.
    """
    resources = plan.sweep.resources
    if resources.gpu != AUTO:
        return plan
    whole = grant(resources.model_copy(update={"gpu": 1.0}), capacity)
    if not whole.gpu:
        place = "here" if capacity.local else f"at {capacity.where}"
        say(f"no GPU {place}: gpu: auto is ignored, each trial runs on CPU")
        return _with_gpu(plan, resources, 0.0)
    n = min(_fitting(shape, root, resources.cpu, measure, say) for shape in shapes(plan))
    return _with_gpu(plan, resources, 1 / n)


def shapes(plan: Plan) -> list[TrialConfig]:
    """A trial of each distinct shape of networks, objective, data and batch; at most four of each objective."""
    by_objective: dict[str, dict[str, TrialConfig]] = {}
    for trial in plan.trials or sampled(plan.sweep, CORNERS):
        config = trial.config
        by_objective.setdefault(config.objective.name, {}).setdefault(_shape(config), config)
    return [config for distinct in by_objective.values() for config in sample_configs(list(distinct.values()))]


def _shape(config: TrialConfig) -> str:
    """A text that is equal for trials that differ only in scalars, such as a learning rate."""
    data: dict[str, Any] = config.model_dump(mode="json", exclude={"optimizer", "training"})
    return f"{data} {config.optimizer.name} {config.training.batch_size} {config.training.replicates}"


def _fitting(config: TrialConfig, root: Path, threads: int, measure: Measure, say: Callable[[str], None]) -> int:
    """Number of trials of this shape per GPU; it is doubled while they fit and throughput rises by a tenth."""
    (alone,) = measure([config], root, "cuda", threads, _PASSES, 1)
    needed = _MARGIN * alone.memory + CONTEXT
    n, rate, why = 1, 1 / alone.seconds, f"{_MOST} is the maximum"
    while 2 * n <= _MOST:
        if 2 * n * needed > alone.room:
            why = f"{2 * n} do not fit into {alone.room / 2**30:.1f} GiB"
            break
        try:
            (cost,) = measure([config], root, "cuda", threads, _PASSES, 2 * n)
        except SpecError as error:
            why = f"{2 * n} at once fail: {error.issues[0].message}"
            break
        if 2 * n / cost.seconds < _WORTH * rate:
            why = f"{2 * n} have only {2 * n / cost.seconds / rate:.2f} times the throughput"
            break
        n, rate = 2 * n, 2 * n / cost.seconds
    took = f"{alone.memory / 2**30:.2f} GiB alone"
    gain = f"throughput {rate * alone.seconds:.2f} × that of a single trial"
    say(f"gpu: auto: {n} of {config.objective.name} on a GPU, {gain}; {took}; {why}")
    return n


def _with_gpu(plan: Plan, resources: Resources, gpu: float) -> Plan:
    update = {"resources": resources.model_copy(update={"gpu": gpu})}
    return replace(plan, sweep=plan.sweep.model_copy(update=update))
