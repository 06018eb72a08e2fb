"""Measures how often a verdict is wrong, judged at every look from 3 to 20 seeds: `python benchmarks/verdict_error.py`.

Each cell simulates sweeps whose truth is known. False INSENSITIVE and false SENSITIVE count a sweep that said so at any
look; coverage counts sweeps whose set of best values held every best value at every look; seeds is the median number
at which a verdict came, of the sweeps where one came; with --until-decided the mean number of replicates per value.
"""

import argparse
import zlib

import numpy as np

from gramtune.analysis.replicates_needed import until_decided
from gramtune.analysis.verdict import batch_findings

TOLERANCE = 0.10
LIMIT = np.log1p(TOLERANCE)
MOST = 20
WIDEST = 0.25
"""A metric that is normal itself has to stay above zero: cells with a wider spread are left out."""


def curves(size):
    """Means of the logs by name; `edge` and `half` are at the tolerance, `over` is just beyond it."""
    place = np.linspace(-1, 1, size)
    return {
        "flat": np.zeros(size),
        "edge": np.r_[np.zeros(size - 1), LIMIT],
        "half": np.r_[np.zeros(size // 2), np.full(size - size // 2, LIMIT)],
        "over": np.r_[np.zeros(size - 1), LIMIT + 1e-9],
        "valley": np.log1p(0.6 * place**2),
        "cliff": np.r_[np.zeros(size - 2), np.full(2, np.log(3))],
        "regimes": np.r_[np.zeros(size // 2), np.full(size - size // 2, np.log(1.3))],
    }


def spreads(name, noise, size):
    """Standard deviation of the log at each value: equal, every other three times larger, one five times larger."""
    one = np.ones(size)
    if name == "alternate":
        one[1::2], one[::2] = 1.5, 0.5
    elif name == "one noisy":
        one[-1] = 5
    return noise * one


def noise_of(kind, sigma, shape, rng):
    """Noise [sweeps, values, seeds] of the log, of mean 0 but for `collapse`: there one run in ten is 3 times worse."""
    wide = sigma[:, None]
    if kind == "normal":  # of the metric itself; a bias would be a difference between values with unequal spreads
        return np.log1p(wide * rng.standard_normal(shape).clip(-3.9, None)) - log_bias(sigma)[:, None]
    if kind == "heavy":
        return wide * rng.standard_t(4, shape) / np.sqrt(2)
    logs = wide * rng.standard_normal(shape)
    return logs + np.log(3) * (rng.random(shape) < 0.1) if kind == "collapse" else logs


def log_bias(sigma):
    """E log(1 + σZ), Z cut off at −3.9: by the midpoint rule."""
    z = np.linspace(-8, 8, 160_001)
    weights = np.exp(-(z**2) / 2)
    return (np.log1p(sigma[:, None] * z.clip(-3.9, None)) * weights).sum(axis=1) / weights.sum()


def cell(means, sigma, kind, repeats, rng, adaptive=False):
    """Shares of INSENSITIVE and SENSITIVE, coverage of the set of bests, seeds to the verdict."""
    best, size = means <= means.min() + 1e-12, len(means)
    losses = means[:, None] + noise_of(kind, sigma, (repeats, size, MOST), rng)
    if adaptive:
        rounds = list(until_decided(losses, np.full((repeats, size), 3), np.full(size, MOST), MOST, TOLERANCE))
        looked, seeds = [found for found, _ in rounds], rounds[-1][1].mean()
    else:
        looked = list(batch_findings(losses, np.full((repeats, size), MOST), TOLERANCE))
        decided = looked[-1].decided
        seeds = np.median(looked[-1].look[decided]) if decided.any() else np.nan
    held = np.all([(each.may_be_best | ~best).all(axis=1) for each in looked], axis=0)
    return looked[-1].insensitive.mean(), looked[-1].sensitive.mean(), held.mean(), seeds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--values", type=int, nargs="*", default=[5, 10])
    parser.add_argument("--noise", type=float, nargs="*", default=[0.01, 0.03, 0.10, 0.20])
    parser.add_argument("--spreads", nargs="*", default=["equal", "alternate", "one noisy"])
    parser.add_argument("--kinds", nargs="*", default=["lognormal", "normal", "heavy", "collapse"])
    parser.add_argument("--until-decided", action="store_true", help="Replicates for open values only.")
    parser.add_argument("--curves", nargs="*", default=list(curves(5)))
    parser.add_argument("--seed", default="", help="Any word: other simulated sweeps.")
    args = parser.parse_args()
    print(f"{args.repeats} sweeps per cell; standard error of a rate of 5 %: {np.sqrt(0.05 * 0.95 / args.repeats):.1%}")
    print("values  curve     spread      noise  kind       false INS  false SEN  coverage  decided  seeds")
    for size in args.values:
        for name in args.curves:
            means = curves(size)[name]
            sensitive = means.max() - means.min() > LIMIT
            for spread in args.spreads:
                for noise in args.noise:
                    for kind in args.kinds:
                        sigma = spreads(spread, noise, size)
                        if kind == "normal" and sigma.max() > WIDEST:
                            continue
                        rng = np.random.default_rng(
                            zlib.crc32(f"{size}{name}{spread}{noise}{kind}{args.seed}".encode())
                        )
                        ins, sen, held, seeds = cell(means, sigma, kind, args.repeats, rng, args.until_decided)
                        wrong = (f"{ins:.1%}", "–") if sensitive else ("–", f"{sen:.1%}")
                        print(
                            f"{size:>6}  {name:<9} {spread:<11} {noise:>5.0%}  {kind:<9}  {wrong[0]:>9}  {wrong[1]:>9}"
                            f"  {held:>8.1%}  {ins + sen:>7.0%}  {seeds:>5.1f}",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
