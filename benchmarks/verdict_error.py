"""How often a verdict is wrong, looked at with every seed from 3 to 20: `python benchmarks/verdict_error.py`.

Each cell simulates sweeps whose truth is known. False INSENSITIVE and false SENSITIVE count a sweep that said so at any
look; coverage counts sweeps whose set of best values held every best value at every look; seeds is the median number
at which a verdict came, of the sweeps where one came.
"""

import argparse
import zlib

import numpy as np

from gramtune.analysis import verdict
from gramtune.analysis.verdict import Verdict, looks

TOLERANCE = 0.10
LIMIT = np.log1p(TOLERANCE)
MOST = 20


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


def noise_of(name, shape, rng):
    """Unit noise of mean 0; `collapse` adds runs that are three times worse, in the size of the log itself."""
    if name == "heavy":
        return rng.standard_t(4, shape) / np.sqrt(2)
    return rng.standard_normal(shape)


def adaptive(logs):
    """The findings of a sweep that gives replicates to open values only, one after each of its looks."""
    counts = [3] * len(logs)
    while True:
        now = verdict.decide([row[:n] for row, n in zip(logs, counts, strict=True)], TOLERANCE)
        yield now
        least = min((counts[i] for i in now.open), default=MOST)
        following = next((look for look in looks(MOST) if look > least), None)
        if following is None:
            return
        counts = [max(n, following) if i in now.open else n for i, n in enumerate(counts)]


def cell(means, sigma, kind, repeats, rng, until_decided=False):
    """Shares of INSENSITIVE and SENSITIVE, coverage of the set of bests, median seeds to the verdict."""
    best = set(np.flatnonzero(means <= means.min() + 1e-12).tolist())
    said, seeds, covered = [], [], 0
    for _ in range(repeats):
        logs = means[:, None] + sigma[:, None] * noise_of(kind, (len(means), MOST), rng)
        if kind == "collapse":
            logs += np.log(3) * (rng.random(logs.shape) < 0.1)
        held, found = True, Verdict.UNDECIDED
        for now in adaptive(logs) if until_decided else verdict.findings(logs, TOLERANCE):
            held &= best <= set(now.may_be_best)
            if found == Verdict.UNDECIDED and now.verdict != Verdict.UNDECIDED:
                found = now.verdict
                seeds.append(now.look)
        said.append(found)
        covered += held
    share = [np.mean([one == which for one in said]) for which in (Verdict.INSENSITIVE, Verdict.SENSITIVE)]
    return *share, covered / repeats, np.median(seeds) if seeds else np.nan


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--values", type=int, nargs="*", default=[5, 10])
    parser.add_argument("--noise", type=float, nargs="*", default=[0.01, 0.03, 0.10, 0.20])
    parser.add_argument("--spreads", nargs="*", default=["equal", "alternate", "one noisy"])
    parser.add_argument("--kinds", nargs="*", default=["normal", "heavy", "collapse"])
    parser.add_argument("--until-decided", action="store_true", help="Replicates for open values only.")
    parser.add_argument("--curves", nargs="*", default=list(curves(5)))
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
                        rng = np.random.default_rng(zlib.crc32(f"{size}{name}{spread}{noise}{kind}".encode()))
                        sigma = spreads(spread, noise, size)
                        ins, sen, held, seeds = cell(means, sigma, kind, args.repeats, rng, args.until_decided)
                        wrong = (f"{ins:.1%}", "–") if sensitive else ("–", f"{sen:.1%}")
                        print(
                            f"{size:>6}  {name:<9} {spread:<11} {noise:>5.0%}  {kind:<9}  {wrong[0]:>9}  {wrong[1]:>9}"
                            f"  {held:>8.1%}  {ins + sen:>7.0%}  {seeds:>5.0f}",
                            flush=True,
                        )


if __name__ == "__main__":
    # The estimate of what is missing is no part of the verdict, and most of the time.
    verdict.LOOK_AHEAD = 0
    main()
