"""Measures a generator step of each objective, including its critic steps, on one core, in one run.

    python benchmarks/objectives.py [rounds]

Three replicates. MMD-GAN and WGAN between their boosts. From MMD-GAN on: five critic steps per generator step, as their
authors have it; the methods above take one, or none.
"""

from __future__ import annotations

import sys

import torch
from _side_by_side import report, side_by_side
from gram_step import CPU, samples

from gramtune.space.load import load_config
from gramtune.training.allocator import keep_freed_memory
from gramtune.training.replicates import Replicates

_NO_NORM = "network.norm=none"
OBJECTIVES = {
    "GRAM": (),
    "GAN": ("objective={name: gan}",),
    "GAN, hinge, spectral normalisation": ("objective={name: gan, loss: hinge}", "network.spectral=normalised"),
    "f-GAN (KL)": ("objective={name: f_gan, divergence: kl}",),
    "ratio matching": ("objective={name: ratio_matching}",),
    "α-GAN": ("objective={name: alpha_gan}",),
    "MMD-net": ("objective={name: mmd_net, bandwidths: [1]}",),
    "Sinkhorn": ("objective={name: sinkhorn}",),
    "MMD-GAN": ("objective={name: mmd_gan, critic_dim: 10, boosted_steps: 0, boost_every: null}",),
    "WGAN": ("objective={name: wgan, boosted_steps: 0, boost_every: null}",),
    "WGAN-GP": ("objective={name: wgan_gp}", _NO_NORM),
    "Cramér GAN": ("objective={name: cramer_gan}", _NO_NORM),
    "MMD-GAN-GP": ("objective={name: mmd_gan_gp}", _NO_NORM),
    "SMMD": ("objective={name: smmd_gan}", _NO_NORM),
    "SN-SMMD": ("objective={name: smmd_gan}", _NO_NORM, "network.spectral=learned_scale"),
    "SWGAN": ("objective={name: swgan}", _NO_NORM),
    "Sobolev GAN": ("objective={name: sobolev_gan}", _NO_NORM),
    "GCMMD (ring only, batches of 32)": ("objective={name: gcmmd}", _NO_NORM, "training.batch_size=32"),
}
_REPLICATES, _STEPS = 3, 5


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()  # as `Trainer` does
    for base in ("ring", "digits"):
        runs = {}
        for name, settings in OBJECTIVES.items():
            if "ring only" in name and base != "ring":
                continue
            config = load_config(f"search_spaces/base/{base}.yaml", settings)
            replicates = Replicates(config, range(_REPLICATES), samples(config), CPU)
            runs[name] = lambda replicates=replicates: replicates.advance(_STEPS)
        report(f"{base}, R = {_REPLICATES}", side_by_side(runs, rounds, warm_up=1), _STEPS)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
