"""Replays pruners on races among the trials of a recorded sweep; each race is a random half of them in random order.

    python benchmarks/pruners_on_recording.py runs/close-race --out docs/pruning

`gramtune replay` has one race, with one winner, in many orders; halves have many winners, and some win narrowly.
Prints a table and draws the figure: training steps saved against how often the best of the race is lost.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from matplotlib.figure import Figure

from gramtune.analysis.replay import Recording, recording, replay, wilson
from gramtune.components import Pruner
from gramtune.pruners.asha import Asha
from gramtune.pruners.hyperband import Hyperband
from gramtune.pruners.median import Median
from gramtune.record.journal import load_state
from gramtune.report.figures.style import MARKERS, OKABE_ITO
from gramtune.run.run_directory import existing_plan


class Outcome(NamedTuple):
    """One pruner over all races."""

    label: str
    pruner: Pruner
    saved: float
    lost: int
    races: int
    regret: float

    @property
    def share(self) -> float:
        """Share of the races in which the best trial was stopped."""
        return self.lost / self.races


def panel() -> dict[str, Pruner]:
    """The pruners to compare, by label."""
    pruners = {f"ASHA η={factor}": Asha(reduction_factor=factor) for factor in (2, 3, 4)}
    for rate in (0.05, 0.1, 0.2, 0.4):
        pruners[f"noise-aware {rate:g}"] = Asha(false_prune_rate=rate)
    return pruners | {"hyperband": Hyperband(), "median": Median()}


def races(record: Recording, number: int, workers: int, seed: int) -> list[Outcome]:
    """Every pruner over the same races."""
    rng = random.Random(seed)
    names = sorted(record.trials)
    halves = [sorted(rng.sample(names, len(names) // 2)) for _ in range(number)]
    outcomes = []
    for label, pruner in panel().items():
        results = [
            replay(replace(record, trials={n: record.trials[n] for n in half}), pruner, 1, workers, seed + i)
            for i, half in enumerate(halves)
        ]
        saved, regret = fmean(r.steps_saved for r in results), fmean(r.regret for r in results)
        outcomes.append(Outcome(label, pruner, saved, sum(r.best_lost for r in results), number, regret))
    return outcomes


def figure(outcomes: list[Outcome], record: Recording) -> Figure:
    """Steps saved against best lost, with Wilson's intervals."""
    drawn = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = drawn.add_subplot()
    for i, outcome in enumerate(outcomes):
        low, high = wilson(outcome.lost, outcome.races)
        error = [[outcome.share - low], [high - outcome.share]]
        colour, marker = OKABE_ITO[i % len(OKABE_ITO)], MARKERS[i % len(MARKERS)]
        axes.errorbar([outcome.saved], [outcome.share], error, fmt=marker, color=colour, label=outcome.label, capsize=2)
    axes.set_xlabel("training steps saved")
    axes.set_ylabel("best of the race lost")
    axes.set_title(f"{outcomes[0].races} races among {len(record.trials) // 2} trials", fontsize=8, loc="left")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    drawn.legend(loc="outside right", frameon=False, fontsize=7)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--races", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True, help="figure, without its suffix")
    options = parser.parse_args()
    record = recording(load_state(options.folder, existing_plan(options.folder)), str(options.folder))
    outcomes = races(record, options.races, options.workers, seed=0)
    print(
        f"{options.races} races among {len(record.trials) // 2} of {len(record.trials)} trials of {record.steps} steps"
    )
    print(f"{'pruner':<18} {'steps saved':>12} {'best lost':>10} {'95 % interval':>16} {'regret':>8}")
    for outcome in outcomes:
        low, high = wilson(outcome.lost, outcome.races)
        cells = f"{outcome.saved:>12.1%} {outcome.share:>10.1%} {f'{low:.1%} to {high:.1%}':>16}"
        print(f"{outcome.label:<18} {cells} {outcome.regret:>8.2f}")
    figure(outcomes, record).savefig(options.out.with_suffix(".png"), dpi=200, metadata={"Software": None})


if __name__ == "__main__":
    main()
