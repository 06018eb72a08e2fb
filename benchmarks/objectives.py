"""What a generator step of each objective costs, with the critic steps that belong to it, on one core, in one run.

    python benchmarks/objectives.py [rounds]

Three replicates; MMD-GAN between its boosts, with five critic steps per generator step.
"""

from __future__ import annotations

import sys

import torch
from _side_by_side import report, side_by_side
from gram_step import CPU, samples

from gramtune.space.load import load_config
from gramtune.training.allocator import keep_freed_memory
from gramtune.training.replicates import Replicates

OBJECTIVES = {
    "GRAM": (),
    "GAN": ("objective={name: gan}",),
    "MMD-net": ("objective={name: mmd_net, bandwidths: [1]}",),
    "MMD-GAN": ("objective={name: mmd_gan, critic_dim: 10, boosted_steps: 0, boost_every: null}",),
}
_REPLICATES, _STEPS = 3, 5


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()  # as `Trainer` does
    for base in ("ring", "digits"):
        runs = {}
        for name, settings in OBJECTIVES.items():
            config = load_config(f"search_spaces/base/{base}.yaml", settings)
            replicates = Replicates(config, range(_REPLICATES), samples(config), CPU)
            runs[name] = lambda replicates=replicates: replicates.advance(_STEPS)
        report(f"{base}, R = {_REPLICATES}", side_by_side(runs, rounds, warm_up=1), _STEPS)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
