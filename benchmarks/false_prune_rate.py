"""Measures how often a pruner stops the truly best trial, on synthetic learning curves with known means.

    python benchmarks/false_prune_rate.py --races 2000

A race: n trials one after the other, R replicates each, judged by gramtune's own `Rungs`. A replicate's value at a rung
is the trial's true mean there, plus an effect of the seed that all trials share, plus noise of its own that persists
from rung to rung (correlation 0.9). "best lost" is the share of races in which the trial with the best true mean (the
same at every rung) is stopped at any of them, with Wilson's 95 % interval.

Two races are this project's own noise. "collapse": the best is 110 ± 2 and stable; a rival is 100 ± 2, but a seed of it
collapses (+900) with probability 0.15. "lognormal": the best is 110 ± 2; a rival is 100·exp(0.6·noise), 120 on average.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator
from typing import NamedTuple

from gramtune.analysis.replay import wilson
from gramtune.components import Pruner
from gramtune.pruners.asha import Asha
from gramtune.record.pruning import Rungs
from gramtune.record.report import Report, Status

STEPS, EVERY, PERSISTENCE = 1600, 100, 0.9
METRIC = "m"


class Race(NamedTuple):
    """What is true in a scenario, in units of the noise of one replicate."""

    name: str
    spread: float = 0.0
    """Standard deviation of the trials' true means; 0: all are equally good, so any of them is "the best"."""
    uneven: float = 1.0
    """Noise of the worst trial over that of the best."""
    noisy: float = 0.0
    """Share of the trials, the best not among them, that have ten times the noise."""
    own: str = ""
    """Kind of noise, if not normal: `collapse` or `lognormal`."""


RACES = (
    Race("all equal"),
    Race("close", 0.5),
    Race("usual", 2.0),
    Race("clear", 10.0),
    Race("uneven", 2.0, 8.0),
    Race("two kinds", noisy=0.2),
    Race("collapse", own="collapse"),
    Race("lognormal", own="lognormal"),
)


def curves(race: Race, trials: int, replicates: int, rng: random.Random) -> list[list[list[float]]]:
    """Values by trial, evaluation and replicate; trial 0 is the best in truth."""
    means = sorted(rng.gauss(0, race.spread) for _ in range(trials))
    seeds = [0.0 if race.own else rng.gauss(0, 3) for _ in range(replicates)]
    result = []
    for rank, mean in enumerate(means):
        sigma = race.uneven ** (rank / trials) * (10 if rank and rng.random() < race.noisy else 1)
        collapsed = [rank > 0 and rng.random() < 0.15 for _ in seeds]
        noise = [rng.gauss(0, 1) for _ in seeds]
        rows = []
        for _ in range(STEPS // EVERY + 1):
            noise = [PERSISTENCE * e + math.sqrt(1 - PERSISTENCE**2) * rng.gauss(0, 1) for e in noise]
            if race.own and rank == 0:
                rows.append([110 + 2 * e for e in noise])
            elif race.own == "collapse":
                rows.append([100 + 2 * e + 900 * lost for e, lost in zip(noise, collapsed, strict=True)])
            elif race.own == "lognormal":
                rows.append([100 * math.exp(0.6 * e) for e in noise])
            else:
                rows.append([mean + seed + sigma * e for seed, e in zip(seeds, noise, strict=True)])
        result.append(rows)
    return result


def stopped(pruner: Pruner, values: list[list[list[float]]], rng: random.Random) -> Iterator[tuple[int, int]]:
    """(trial, step) of every trial that is stopped, in a random order of arrival."""
    rungs = Rungs(pruner, STEPS, EVERY, "min")
    for trial in rng.sample(range(len(values)), len(values)):
        for position, row in enumerate(values[trial]):
            report = Report(position * EVERY, {METRIC: list(row)}, {}, 1, 0.0, 0, Status.RUNNING, "")
            if rungs.decide(f"trial {trial}", report, METRIC):
                yield trial, report.step
                break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=2000)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--race", nargs="+", default=[race.name for race in RACES])
    parser.add_argument("--rates", type=float, nargs="+", default=[0, 0.05, 0.1, 0.2, 0.4], help="0: no rate")
    parser.add_argument("--replicates", type=int, nargs="+", default=[2, 3, 5, 10])
    options = parser.parse_args()
    print(f"{options.races} races of {options.trials} trials, ASHA with η = 4")
    print(f"{'race':<10} {'R':>3} {'rate':>6} {'best lost':>10} {'95 % interval':>18} {'steps saved':>12}")
    for race in [race for race in RACES if race.name in options.race]:
        for replicates in options.replicates:
            for rate in options.rates:
                rng = random.Random(0)
                pruner = Asha(false_prune_rate=rate or None)
                lost, saved = 0, 0
                for _ in range(options.races):
                    ends = dict(stopped(pruner, curves(race, options.trials, replicates, rng), rng))
                    lost += 0 in ends
                    saved += sum(STEPS - step for step in ends.values())
                low, high = wilson(lost, options.races)
                shares = f"{lost / options.races:>10.1%} {f'{low:.1%} to {high:.1%}':>18}"
                shares += f" {saved / (options.races * options.trials * STEPS):>12.1%}"
                named = f"{rate:g}" if rate else "none"
                print(f"{race.name:<10} {replicates:>3} {named:>6} {shares}")


if __name__ == "__main__":
    main()
