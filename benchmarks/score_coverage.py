"""Measures how often the sensitivity score's interval contains the true share: `python benchmarks/score_coverage.py`.

Curves whose truth is known, seeds that share half of their noise along the axis, as replicates share batches.
"""

import argparse

import numpy as np

from gramtune.analysis.sensitivity_score import Curve, sensitivity

CURVES = {
    "valley": 100 * (1 + 0.15 * np.linspace(-2, 2, 9) ** 2),
    "flat": np.array([104, 100, 102, 103, 101, 104, 102, 100, 103.0]),
    "cliff": np.array([100, 101, 102, 99, 100, 300, 400, 500, 600.0]),
}
TOLERANCES = (0.10, 0.25)


def truth(means):
    """The shares without noise."""
    one = Curve(np.arange(len(means), dtype=float), means[:, None])
    return [share.value for share in sensitivity(one, [one], "min", TOLERANCES, 0, np.random.default_rng(0)).shares]


def covered(means, seeds, noise, repeats, rng):
    """Share of repeats whose interval holds the truth, per tolerance; mean of `best`, and of the least mean."""
    true, held, bests, leasts = truth(means), np.zeros(len(TOLERANCES)), [], []
    for _ in range(repeats):
        common = rng.normal(0, noise / 2, (1, seeds))
        values = means[:, None] * (1 + common + rng.normal(0, noise, (len(means), seeds)))
        one = Curve(np.arange(len(means), dtype=float), values)
        score = sensitivity(one, [one], "min", TOLERANCES, 400, rng)
        for i, share in enumerate(score.shares):
            held[i] += share.interval[0] - 1e-9 <= true[i] <= share.interval[1] + 1e-9
        bests.append(score.best.value)
        leasts.append(values.mean(axis=1).min())
    return true, held / repeats, np.mean(bests), np.mean(leasts)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    print("curve   seeds  noise  true shares    held (of", f"{repeats})    best   least mean")
    for name, means in CURVES.items():
        for seeds in (3, 5, 10):
            for noise in (0.03, 0.10):
                true, held, best, least = covered(means, seeds, noise, repeats, rng)
                print(
                    f"{name:<8}{seeds:>5}{noise:>7.2f}   {true[0]:.2f} {true[1]:.2f}"
                    f"      {held[0]:.1%} {held[1]:.1%}    {best:6.1f}  {least:6.1f}"
                )


if __name__ == "__main__":
    main()
