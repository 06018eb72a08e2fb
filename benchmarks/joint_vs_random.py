"""Compares `joint` (TPE + ASHA) with random search at the same number of training steps.

    python benchmarks/joint_vs_random.py --out /tmp/joint --seeds 5

Every arm searches the space of search_spaces/joint.yaml, without its hand-picked points, until the budget is spent; one
trial at a time, so a seed gives the same numbers again. Whenever a sweep's best trial changes, the new one is trained
again with fresh seeds: what a search reports of its own winner is too good. Prints a table and draws the figure.
Runs that `--out` holds already are kept, so further arms and seeds can be added.

MMD-GAN makes one critic update per step, not five, and skips its 25 first steps of a hundred: they would take most of
the time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from gramtune.backends.optuna.search import OptunaProposer
from gramtune.io import data_root
from gramtune.pruners.asha import Asha
from gramtune.record.journal import load_state
from gramtune.record.report import Status
from gramtune.record.student_t import t_quantile
from gramtune.report.figures.style import OKABE_ITO
from gramtune.run.driver import Driver
from gramtune.run.in_process import InProcessRunner
from gramtune.space.budget import Budget
from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import make_plan
from gramtune.space.pruner import NO_PRUNER
from gramtune.space.search import Search
from gramtune.space.sweep import Sweep
from gramtune.training.config import TrialConfig
from gramtune.training.trainer import Trainer

SPACE = Path(__file__).parents[1] / "search_spaces" / "joint.yaml"
ARMS = {
    "random": ("random", NO_PRUNER),
    "random + ASHA": ("random", Asha(reduction_factor=3)),
    "TPE": ("tpe", NO_PRUNER),
    "TPE + ASHA": ("tpe", Asha(reduction_factor=3)),
    "TPE + noise-aware ASHA": ("tpe", Asha(reduction_factor=3, false_prune_rate=0.2)),
}
FRESH_SEED = 1000


class Incumbent(NamedTuple):
    """The best completed trial from `spent` training steps (of all replicates) on."""

    spent: int
    trial: str
    claimed: float
    fresh: float


class Run(NamedTuple):
    """One sweep of one arm."""

    arm: str
    seed: int
    trials: int
    pruned: int
    spent: int
    incumbents: tuple[Incumbent, ...]

    def at(self, spent: float) -> float:
        """Re-evaluated value of the best trial so far; NaN before the first has completed."""
        known = [incumbent.fresh for incumbent in self.incumbents if incumbent.spent <= spent]
        return known[-1] if known else float("nan")


def sweep_of(arm: str, seed: int, budget: int, settings: tuple[str, ...]) -> Sweep:
    """The joint space as this arm searches it."""
    sampler, pruner = ARMS[arm]
    joint = load_sweep(SPACE, Overrides(set=settings, replicates=2))
    search = Search.model_validate({"name": sampler, "samples": 1000, "seed": seed})
    method = joint.space["method"]
    assert method.cases is not None
    unboosted = {
        **method.cases["MMD-GAN"],
        "objective.critic_iterations": 1,
        "objective.boosted_steps": 0,
        "objective.boost_every": None,
    }
    cases = method.model_copy(update={"cases": {**method.cases, "MMD-GAN": unboosted}})
    space = {**joint.space, "method": cases}
    return joint.model_copy(update={"space": space, "search": search, "pruner": pruner, "budget": Budget(steps=budget)})


def run(arm: str, seed: int, budget: int, settings: tuple[str, ...], out: Path) -> Run:
    """One sweep, and the re-evaluation of each of its incumbents."""
    torch.set_num_threads(1)
    folder = out / f"{arm.replace(' ', '_')}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    plan = make_plan(sweep_of(arm, seed, budget, settings), data_root())
    state = load_state(folder, plan)
    InProcessRunner().run(Driver(state, folder, OptunaProposer(state, folder)))
    spent, best, incumbents = 0, float("inf"), []
    for record in state.records.values():  # one at a time: in the order in which they ended
        spent += (record.last.step if record.last else 0) * plan.sweep.min_replicates
        summary = record.summary(plan.metric)
        if record.status == Status.COMPLETED and summary and summary.mean < best:
            best = summary.mean
            incumbents.append(Incumbent(spent, record.trial.name, best, fresh_value(record.trial.config)))
    pruned = sum(record.status == Status.PRUNED for record in state.records.values())
    return Run(arm, seed, len(state.records), pruned, spent, tuple(incumbents))


def fresh_value(config: TrialConfig, replicates: int = 2) -> float:
    """Mean of the metric after the same training with new seeds; infinite if all of them diverge."""
    training = config.training.model_copy(update={"seed": FRESH_SEED, "replicates": replicates})
    trainer = Trainer(config.model_copy(update={"training": training}), data_root(), torch.device("cpu"))
    trainer.advance(training.steps)
    values = [value for value in trainer.evaluate().get(config.metric, []) if value is not None]
    return fmean(values) if values else float("inf")


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of their mean."""
    half = t_quantile(len(differences) - 1) * stdev(differences) / len(differences) ** 0.5
    return fmean(differences) - half, fmean(differences) + half


def table(runs: Sequence[Run], budget: int) -> list[str]:
    """One line per arm; differences are to random search, paired by sweep seed."""
    base = {r.seed: r.at(budget) for r in runs if r.arm == "random"}
    lines = [f"{'arm':<24} {'trials':>7} {'pruned':>7} {'best, re-evaluated':>22} {'minus random, 95 % interval':>36}"]
    for arm in dict.fromkeys(r.arm for r in runs):
        mine = [r for r in runs if r.arm == arm]
        finals = [r.at(budget) for r in mine]
        differences = [r.at(budget) - base[r.seed] for r in mine if r.seed in base]
        low, high = interval(differences) if arm != "random" and len(differences) > 1 else (0.0, 0.0)
        against = "" if arm == "random" else f"{fmean(differences):.1f} ({low:.1f} to {high:.1f})"
        spread = f"{fmean(finals):.1f} ± {stdev(finals) if len(finals) > 1 else 0:.1f}"
        counts = f"{fmean(r.trials for r in mine):>7.1f} {fmean(r.pruned for r in mine):>7.1f}"
        lines.append(f"{arm:<24} {counts} {spread:>22} {against:>36}")
    return lines


def figure(runs: Sequence[Run], budget: int, metric: str) -> Figure:
    """Re-evaluated best so far against training steps spent: mean and range over sweep seeds."""
    drawn = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = drawn.add_subplot()
    grid = np.linspace(0, budget, 400)
    for colour, arm in zip(OKABE_ITO, dict.fromkeys(r.arm for r in runs), strict=False):
        curves = np.array([[r.at(x) for x in grid] for r in runs if r.arm == arm])
        complete = ~np.isnan(curves).any(axis=0)
        axes.plot(grid[complete], curves.mean(axis=0)[complete], color=colour, label=arm)
        low, high = curves.min(axis=0)[complete], curves.max(axis=0)[complete]
        axes.fill_between(grid[complete], low, high, color=colour, alpha=0.15, linewidth=0)
    seeds = len({r.seed for r in runs})
    axes.set_xlabel("training steps spent, all replicates")
    axes.set_ylabel(f"{metric} of the best so far,\ntrained again from fresh seeds")
    axes.set_title(f"joint space on digits: mean and range over {seeds} sweep seeds", fontsize=9, loc="left")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    return drawn


def load_runs(out: Path) -> list[Run]:
    """The runs of earlier calls."""
    file = out / "runs.json"
    rows = json.loads(file.read_text()) if file.is_file() else []
    return [Run(**{**row, "incumbents": tuple(Incumbent(*i) for i in row["incumbents"])}) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--trials", type=int, default=10, help="budget, in trials that run to their end")
    parser.add_argument("--set", action="append", default=None, help="as of gramtune sweep")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    settings = tuple(options.set or ("training.steps=120", "training.eval_every=40", "training.eval_samples=256"))
    training = load_sweep(SPACE, Overrides(set=settings, replicates=2)).base["training"]
    budget = options.trials * training["steps"] * training["replicates"]
    options.out.mkdir(parents=True, exist_ok=True)
    runs = load_runs(options.out)
    known = {(r.arm, r.seed) for r in runs}
    jobs = [(arm, seed) for seed, arm in product(range(options.seeds), options.arms) if (arm, seed) not in known]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(run, arm, seed, budget, settings, options.out) for arm, seed in jobs]
        for future in futures:
            runs.append(future.result())
            print(runs[-1], flush=True)
            (options.out / "runs.json").write_text(json.dumps([r._asdict() for r in runs], indent=1))
    print("\n".join(table(runs, budget)))
    drawn = figure(runs, budget, "fid_digits")
    for suffix in ("png", "svg"):
        drawn.savefig(options.out / f"joint_vs_random.{suffix}", dpi=200)


if __name__ == "__main__":
    main()
