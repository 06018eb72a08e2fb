"""Measures the cost of a trial: some real steps and an evaluation, each trial in its own process."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import fmean
from threading import BrokenBarrierError

import torch

import gramtune
from gramtune.errors import Issue, SpecError
from gramtune.plugins import Plugin, loaded
from gramtune.run.capacity import Capacity, grant
from gramtune.run.guarded_trial import in_words
from gramtune.space.plan import Plan, sampled
from gramtune.space.validate_space import CORNERS
from gramtune.training.config import TrialConfig
from gramtune.training.graphs import RUNS_BEFORE
from gramtune.training.trainer import Trainer

_LONGEST = 10.0
"""Most seconds for measuring the steps of one trial."""
_SHORTEST_ON_GPU = 1.0
"""Shortest measurement in seconds with several trials on one GPU; in less time their steps do not overlap."""
_PATIENCE = 600.0
"""Seconds that a copy waits for the other copies."""
_OTHER = "another copy that ran at the same time failed"


@dataclass(frozen=True)
class TrialCost:
    """The cost of one trial with all its replicates on one worker."""

    seconds: float
    """Extrapolated from the timed steps."""
    memory: int
    """Peak resident bytes of its process; on a GPU the bytes that torch reserved there."""
    passes: int
    """Number of timed updates (of one network, or of both at once)."""
    room: int = 0
    """Total bytes of the GPU; 0 on a CPU."""


@dataclass(frozen=True)
class _Order:
    """The request to a measuring process."""

    config: TrialConfig
    root: Path
    device: str
    threads: int
    passes: int


@dataclass(frozen=True)
class SweepEstimate:
    """The estimated cost of the trials of a sweep, from measurements."""

    seconds_per_trial: float
    """Mean over the trials, without savings by a pruner."""
    memory_per_trial: int
    """Largest memory of any measured trial, in bytes."""
    passes: int
    """Total number of timed updates."""
    trials: int
    """Number of measured trials."""


def estimate(plan: Plan, capacity: Capacity, root: Path, passes: int = 20) -> SweepEstimate:
    """Measures at most four trials of each objective, with the threads and the device of the sweep.

    Raises SpecError with the reason if one of them fails.
    """
    by_objective: dict[str, list[TrialConfig]] = {}
    for trial in plan.trials or sampled(plan.sweep, CORNERS):
        by_objective.setdefault(trial.config.objective.name, []).append(trial.config)
    share = grant(plan.sweep.resources, capacity)
    chosen = {name: sample_configs(configs) for name, configs in by_objective.items()}
    device = "cuda" if share.gpu and torch.cuda.is_available() else "cpu"
    costs = measure([config for some in chosen.values() for config in some], root, device, share.cpu, passes)
    left = iter(costs)
    means = {name: fmean(next(left).seconds for _ in some) for name, some in chosen.items()}
    seconds = sum(len(configs) * means[name] for name, configs in by_objective.items())
    return SweepEstimate(
        seconds / sum(map(len, by_objective.values())),
        max(cost.memory for cost in costs),
        sum(cost.passes for cost in costs),
        len(costs),
    )


def measure(
    configs: Sequence[TrialConfig], root: Path, device: str, threads: int, passes: int, copies: int = 1
) -> list[TrialCost]:
    """The cost of each trial: the mean over copies of it that run at the same time.

    Measured in another process: this one has memory and caches that no worker has. Raises SpecError if one fails.
    """
    return measured(order_of(configs, root, device, threads, passes, copies))


def order_of(configs: Sequence[TrialConfig], root: Path, device: str, threads: int, passes: int, copies: int) -> str:
    """The input of `measured` as JSON text: the other process must load the plug-ins before it can parse it."""
    settings = {"root": str(root), "device": device, "threads": threads, "passes": passes, "copies": copies}
    plugins = [plugin.model_dump(mode="json") for plugin in loaded()]
    raw = [config.model_dump(mode="json") for config in configs]
    return json.dumps({"plugins": plugins, "configs": raw, **settings})


def measured(order: str) -> list[TrialCost]:
    """The costs of an order, measured in a new process. Raises SpecError if a trial fails."""
    command = [sys.executable, "-P", "-m", "gramtune.run.cost_estimate"]
    path = [*filter(None, sys.path), str(Path(gramtune.__file__).parents[1])]  # not the working directory: random.py
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(command, env=env, input=order, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"])[-1]
        raise SpecError([Issue("warm-up", f"a trial cannot be measured: {reason}")])
    return [TrialCost(**cost) for cost in json.loads(done.stdout.splitlines()[-1])]


def sample_configs(configs: Sequence[TrialConfig], n: int = 4) -> list[TrialConfig]:
    """At most n of the configurations, evenly spaced, including the first and the last."""
    last = len(configs) - 1
    return [configs[i] for i in sorted({round(k * last / (n - 1)) for k in range(n)})]


def _cost(config: TrialConfig, root: Path, device: torch.device, passes: int, together: Barrier) -> TrialCost:
    on_gpu = device.type == "cuda"
    shortest, trainer = (_SHORTEST_ON_GPU if on_gpu else 0.0), Trainer(config, root, device)
    trainer.advance(RUNS_BEFORE + 1 if on_gpu else 1)
    trainer.evaluate()  # loads data and features, which a worker caches for its later trials
    together.wait(_PATIENCE)
    started, first = time.perf_counter(), trainer.step
    taken, steps, elapsed = 0, 1, 0.0
    while (taken < passes or elapsed < shortest) and not trainer.done and elapsed < _LONGEST:
        trainer.advance(min(steps, config.training.steps - trainer.step))
        taken, elapsed = _passes(config, first, trainer.step), time.perf_counter() - started
        steps *= 2  # each `advance` waits for the GPU; that wait is not part of a step
    trained = time.perf_counter()
    per_pass = (trained - started) / max(1, taken)
    trainer.evaluate()
    per_evaluation = time.perf_counter() - trained
    total = _passes(config, 0, config.training.steps) * per_pass + len(config.training.evaluations) * per_evaluation
    if on_gpu:
        room = torch.cuda.get_device_properties(device).total_memory
        return TrialCost(total, torch.cuda.max_memory_reserved(device), taken, room)
    return TrialCost(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, taken)


def _passes(config: TrialConfig, start: int, stop: int) -> int:
    """Number of updates in generator steps start … stop − 1; early steps of MMD-GAN have 100 critic updates each."""
    objective = config.objective
    return sum(1 if objective.joint else 1 + objective.critic_steps(step) for step in range(start, stop))


def _answer(connection: Connection, order: _Order, together: Barrier) -> None:
    """Sends the cost of a trial, or the reason why it cannot be measured."""
    torch.set_num_threads(order.threads)
    try:
        connection.send(_cost(order.config, order.root, torch.device(order.device), order.passes, together))
    except BrokenBarrierError:
        connection.send(_OTHER)
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        together.abort()
        connection.send(in_words(error))


def _copies(order: _Order, copies: int) -> TrialCost | str:
    """The mean cost of a trial over copies that run at once, or the reason why it cannot be measured."""
    fork = multiprocessing.get_context("fork")  # torch is imported already
    together, workers = fork.Barrier(copies), []
    for _ in range(copies):
        ours, theirs = fork.Pipe(duplex=False)
        workers.append((fork.Process(target=_answer, args=(theirs, order, together)), ours))
        workers[-1][0].start()
        theirs.close()
    answers: list[TrialCost | str] = []
    for worker, ours in workers:
        try:
            answers.append(ours.recv())
        except EOFError:
            together.abort()  # the others would wait for it
            answers.append("its process was killed, perhaps because memory ran out")
        worker.join()
    issues = [answer for answer in answers if isinstance(answer, str)]
    if issues:
        return next((issue for issue in issues if issue != _OTHER), _OTHER)
    costs = [answer for answer in answers if isinstance(answer, TrialCost)]
    seconds, memory = fmean(cost.seconds for cost in costs), max(cost.memory for cost in costs)
    return TrialCost(seconds, memory, sum(cost.passes for cost in costs), costs[0].room)


def _main() -> None:
    """Reads the request of `measure` and prints the costs."""
    order = json.load(sys.stdin)
    for plugin in order["plugins"]:
        Plugin.model_validate(plugin)
    same = (Path(order["root"]), order["device"], order["threads"], order["passes"])
    costs = []
    for raw in order["configs"]:
        answer = _copies(_Order(TrialConfig.model_validate(raw), *same), order["copies"])
        if isinstance(answer, str):
            sys.exit(answer)
        costs.append(vars(answer))
    print(json.dumps(costs))


if __name__ == "__main__":
    _main()
