"""Measures the waiting of `search: {synchronous: true}`: wall time on W workers relative to the same search without it.

    python benchmarks/synchronous.py --sweeps 5

The driver and Optuna are real; trials are made up: 24 of them, eight evaluations each, whose time differs between
trials by a factor with log-standard-deviation 0.2 (networks of one size) or 0.7 (widths and depths vary). ASHA, η = 2.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import tempfile
import zlib
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from gramtune.backends.optuna.search import OptunaProposer
from gramtune.record.state import SweepState
from gramtune.run.driver import Driver
from gramtune.space.load import load_sweep
from gramtune.space.plan import PlannedTrial, recorded_plan

STEPS, EVERY = 640, 80
BASE = Path(__file__).parents[1] / "search_spaces" / "base" / "digits.yaml"


def driver(folder: Path, sampler: str, seed: int, synchronous: bool, pruned: bool) -> Driver:
    """A new sweep of 24 trials."""
    base = yaml.safe_load(BASE.read_text())
    base["training"] |= {"steps": STEPS, "eval_every": EVERY}
    space = {"optimizer.learning_rate": {"loguniform": [1e-4, 1e-2]}, "objective.critic_dim": {"logint": [2, 64]}}
    search = {"name": sampler, "samples": 24, "seed": seed, "synchronous": synchronous}
    pruner = {"name": "asha", "reduction_factor": 2} if pruned else {"name": "none"}
    sweep = {"name": "waiting", "base": base, "space": space, "search": search, "pruner": pruner}
    folder.mkdir(parents=True)
    (folder / "space.yaml").write_text(yaml.safe_dump(sweep))
    state = SweepState(recorded_plan(load_sweep(folder / "space.yaml")))
    return Driver(state, folder, OptunaProposer(state, folder))


def report(trial: PlannedTrial, step: int) -> dict[str, Any]:
    """The best learning rate is 1e-3; the metric falls with the steps."""
    rng = random.Random(zlib.crc32(trial.name.encode()))
    level = 10 + 20 * abs(math.log10(trial.assignment["optimizer.learning_rate"]) + 3)
    metrics = {trial.config.metric: [level * (1 + 100 / (1 + step)) * rng.gauss(1, 0.1) for _ in range(3)]}
    status = "COMPLETED" if step == STEPS else "RUNNING"
    return {"trial": trial.name, "damaged": [], "step": step, "metrics": metrics, "traces": {}, "samples": 1,
            "seconds": 0.0, "timestamp": 0, "status": status, "reason": "", "diverged": [], "first": 0}  # fmt: skip


def wall_time(sweep: Driver, workers: int, spread: float, seed: int) -> float:
    """When the last trial ends, in evaluations of a usual trial."""
    now, idle, steps, events = 0.0, list(range(workers)), {}, []

    def hand_out() -> None:
        while idle and (trial := sweep.next()):
            sweep.started(trial)
            pace = random.Random(f"{seed} {trial.name}").lognormvariate(0, spread)
            heapq.heappush(events, (now + pace, idle.pop(), pace, trial.name, trial, steps.get(trial.name, 0)))

    hand_out()
    while events:
        now, worker, pace, name, trial, step = heapq.heappop(events)
        steps[name] = step
        if sweep.heard(report(trial, step), print) and step < STEPS:
            heapq.heappush(events, (now + pace, worker, pace, name, trial, step + EVERY))
        else:
            idle.append(worker)
        hand_out()
    return now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=5)
    options = parser.parse_args()
    print(f"{'search':<8} {'pruner':<7} {'workers':>7} {'spread':>7} {'wall time with : without':>25}")
    with tempfile.TemporaryDirectory() as folder:
        for sampler, pruned in (("random", True), ("tpe", False), ("tpe", True)):
            for workers in (2, 4, 8):
                for spread in (0.2, 0.7):
                    times = [
                        [
                            wall_time(
                                driver(
                                    Path(folder) / f"{sampler}{pruned}{workers}{spread}{seed}{synchronous}",
                                    sampler, seed, synchronous, pruned,
                                ),
                                workers, spread, seed,
                            )
                            for seed in range(options.sweeps)
                        ]
                        for synchronous in (True, False)
                    ]  # fmt: skip
                    ratio = fmean(times[0]) / fmean(times[1])
                    print(f"{sampler:<8} {'asha' if pruned else 'none':<7} {workers:>7} {spread:>7g} {ratio:>25.2f}")


if __name__ == "__main__":
    main()
