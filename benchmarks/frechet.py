"""Measures the Fréchet distance at d = 2048 from features against pytorch-fid's from moments, in the same run.

    python benchmarks/frechet.py [--samples 10000] [--rounds 5]

The real side is factored beforehand, as in a sweep; what that costs is a line of its own. On one thread processor time
counts, on several the clock on the wall.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from _side_by_side import report, side_by_side
from pytorch_fid.fid_score import calculate_frechet_distance
from threadpoolctl import threadpool_limits
from torch import Tensor

from gramtune.metrics.frechet import Moments, frechet_distance, moments

D = 2048


def features(n: int, seed: int) -> Tensor:
    """Correlated, non-negative features [n, D], float32, as pool3's are."""
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.eye(D) + 0.5 * torch.randn(D, D, generator=torch.Generator().manual_seed(9)) / D**0.5
    return (torch.randn(n, D, generator=rng) @ mixing + 0.1 * seed).relu()


def moments_of(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    x = x.double().numpy()
    return x.mean(axis=0), np.cov(x, rowvar=False)


def full_products(real: Moments, fake: Tensor) -> float:
    """The same distance with whole matrix products: what the tiles of `frechet_distance` save."""
    mean = fake.mean(dim=0, dtype=torch.float64)
    rows = fake.double().sub_(mean).div_((len(fake) - 1) ** 0.5)
    covariance = rows.mT @ rows
    eigenvalues = torch.linalg.eigvalsh(real.factor.mT @ covariance @ real.factor).clamp_min(0)
    traces = covariance.diagonal().sum() + real.factor.square().sum()
    return float((real.mean - mean).square().sum() + traces - 2 * eigenvalues.sqrt().sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000, help="generated ones; 10,000 real ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
    real, fake = features(10_000, 0), features(options.samples, 1)
    started = time.process_time()
    reference = moments(real)
    print(f"moments of the real side, once: {time.process_time() - started:.2f} s of processor time")
    theirs, ours = (*moments_of(real), *moments_of(fake)), frechet_distance(reference, fake)
    expected = calculate_frechet_distance(theirs[2], theirs[3], theirs[0], theirs[1])
    print(f"pytorch-fid {expected:.9g}, ours {ours:.9g}, relative difference {abs(ours - expected) / expected:.1e}")
    peers = {
        f"pytorch-fid, from {options.samples:,} features": lambda: calculate_frechet_distance(
            *theirs[:2], *moments_of(fake)
        ),
        "pytorch-fid, from moments": lambda: calculate_frechet_distance(*theirs),
        f"ours, from {options.samples:,} features": lambda: frechet_distance(reference, fake),
        "ours with whole products": lambda: full_products(reference, fake),
    }
    clock = time.process_time if options.threads == 1 else time.perf_counter
    seconds = side_by_side(peers, options.rounds, warm_up=0, clock=clock)
    report(f"Fréchet distance, d = {D}, {options.threads} threads", seconds)


if __name__ == "__main__":
    main()
