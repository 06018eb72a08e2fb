"""Measures the cost of a step with R replicates relative to one, on one core or a GPU, in one run.

    python benchmarks/replicates.py [rounds] [cpu | cuda]

Perceptrons (ring) take one batched product per layer, convolutional networks (digits) one network after the other.
"""

from __future__ import annotations

import sys
import time

import torch
from _side_by_side import report, side_by_side
from gram_step import samples, synchronised

from gramtune.space.load import load_config
from gramtune.training.allocator import keep_freed_memory
from gramtune.training.replicates import Replicates

SETTINGS = {
    "ring, h = 8, K = 10, batch 200": ("ring", ("objective.critic_dim=10", "network.noise_dim=8")),
    "digits, K = 32, batch 64": ("digits", ()),
    "DCGAN 32×32, K = 128, batch 64": ("cifar10", ("metrics=[fid]",)),
}
_STEPS = 10


def main(rounds: int, device: str) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()  # as `Trainer` does
    steps, clock = (_STEPS, time.process_time) if device == "cpu" else (100, time.perf_counter)
    for title, (base, settings) in SETTINGS.items():
        config = load_config(f"search_spaces/base/{base}.yaml", settings)
        train = samples(config).to(device)
        peers = {f"R = {r}": Replicates(config, range(r), train, train.device) for r in (1, 3, 8)}
        runs = {name: lambda replicates=replicates: replicates.advance(steps) for name, replicates in peers.items()}
        if device != "cpu":
            print(torch.cuda.get_device_name())
            runs = synchronised(runs)
        report(title, side_by_side(runs, rounds, clock=clock), steps)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, sys.argv[2] if len(sys.argv) > 2 else "cpu")
