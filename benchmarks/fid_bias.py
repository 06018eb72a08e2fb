"""Shows that FID orders three relu-normal distributions wrongly and KID correctly (Bińkowski et al. 2018, appendix D).

    python benchmarks/fid_bias.py [--dim 256] [--draws 10]

P₁ = relu N(0, I), P₂ = relu N(1, 0.8 Σ + 0.2 I), Q = relu N(1, I), Σ = (4/d) C Cᵀ with C standard normal. P₂ is nearer
to Q. Both distances are taken from m samples of either side, again and again; "order" is how often P₂ comes out nearer.
"""

from __future__ import annotations

import argparse
from statistics import fmean, stdev

import torch
from torch import Tensor

from gramtune.data.gaussian import Gaussian
from gramtune.metrics.frechet import frechet_distance, moments
from gramtune.metrics.kid import Kid

POINTS = Gaussian()


class Example:
    """The three distributions in d dimensions."""

    def __init__(self, dim: int) -> None:
        self.dim, self.rng = dim, torch.Generator().manual_seed(0)
        c = self._normal(dim)
        covariance = 0.8 * 4 / dim * c @ c.mT + 0.2 * torch.eye(dim, dtype=torch.float64)
        self.factor = torch.linalg.cholesky(covariance)

    def p1(self, m: int) -> Tensor:
        return self._normal(m).relu()

    def p2(self, m: int) -> Tensor:
        return (self._normal(m) @ self.factor.mT + 1).relu()

    def q(self, m: int) -> Tensor:
        return (self._normal(m) + 1).relu()

    def _normal(self, m: int) -> Tensor:
        return torch.randn(m, self.dim, generator=self.rng, dtype=torch.float64)


def fid(real: Tensor, fake: Tensor) -> float:
    return frechet_distance(moments(real), fake)


def kid(real: Tensor, fake: Tensor) -> float:
    return Kid().compute(Kid().reference(real, POINTS), fake)["kid"]


def line(example: Example, m: int, draws: int) -> str:
    cells = []
    for distance in (fid, kid):
        first = [distance(example.q(m), example.p1(m)) for _ in range(draws)]
        second = [distance(example.q(m), example.p2(m)) for _ in range(draws)]
        right = sum(a > b for a, b in zip(first, second, strict=True))
        spreads = [stdev(values) if draws > 1 else 0.0 for values in (first, second)]
        cells += [f"{fmean(first):9.4g} ± {spreads[0]:<8.2g}", f"{fmean(second):9.4g} ± {spreads[1]:<8.2g}"]
        cells.append(f"{right:>3} of {draws:<4}")
    return f"{m:>8,}  " + " ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--samples", type=int, nargs="+", default=[250, 1000, 4000, 16000], help="m")
    options = parser.parse_args()
    example = Example(options.dim)
    print(f"d = {options.dim}, {options.draws} draws, mean ± standard deviation")
    names = "".join(f"{name:<21}" for name in ("FID(P1, Q)", "FID(P2, Q)", "  order"))
    print(f"{'m':>8}   {names}" + names.replace("FID", "KID"))
    for m in options.samples:
        print(line(example, m, options.draws), flush=True)


if __name__ == "__main__":
    main()
