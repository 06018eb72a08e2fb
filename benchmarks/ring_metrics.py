"""Measures noise floor, sensitivity and standard error of the ring's metrics for slightly worse generators.

    python benchmarks/ring_metrics.py [--samples 2000] [--draws 20]

Samples are drawn from the ring of base/ring.yaml itself, and from rings that are wrong in one respect. "floor" is a
metric's mean and standard deviation on true samples. "z" is how many standard deviations (of the two sets of draws
together) the wrong ring lies above the floor: a single evaluation tells them apart from about 3 on. Where the metric
has a standard error of its own, "error/spread" compares its root mean square with the spread over draws.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch import Tensor

from gramtune.components import Metric
from gramtune.data.ring import Ring
from gramtune.metrics.energy_distance import EnergyDistance
from gramtune.metrics.modes import Modes
from gramtune.metrics.sliced_wasserstein import SlicedWasserstein

RING = Ring(radius=2.0, std=0.2)
METRICS: dict[str, tuple[Metric, str]] = {
    "sliced_wasserstein": (SlicedWasserstein(), "sliced_wasserstein"),
    "energy α=1": (EnergyDistance(power=1.0), "energy_distance"),
    "energy α=0.5": (EnergyDistance(power=0.5), "energy_distance"),
    "energy α=0.1": (EnergyDistance(), "energy_distance"),
    "high_quality": (Modes(), "high_quality"),
}


class Wrong:
    """The ring, with modes `scale` times as wide, only the first `modes` of them, or all moved outwards by `shift`."""

    def __init__(self, label: str, scale: float = 1.0, modes: int = 8, shift: float = 0.0, off: float = 0.0) -> None:
        self.label, self.scale, self.modes, self.shift, self.off = label, scale, modes, shift, off

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """[n, 2]; a share `off` of the samples lies on straight lines between neighbouring modes."""
        mode = torch.randint(self.modes, (n,), generator=rng)
        centres = RING.centres() * (1 + self.shift / RING.radius)
        points = centres[mode] + self.scale * RING.std * torch.randn(n, 2, generator=rng)
        place = torch.rand(n, 1, generator=rng)
        between = centres[mode] + place * (centres[(mode + 1) % 8] - centres[mode])
        return torch.where(torch.rand(n, 1, generator=rng) < self.off, between, points)


CASES = [
    Wrong("truth"),
    Wrong("modes 1.1 times as wide", scale=1.1),
    Wrong("modes 1.25 times as wide", scale=1.25),
    Wrong("modes 0.8 times as wide", scale=0.8),
    Wrong("modes 0.5 times as wide", scale=0.5),
    Wrong("moved outwards by 0.1", shift=0.1),
    Wrong("5 % of the samples between modes", off=0.05),
    Wrong("20 % of the samples between modes", off=0.2),
    Wrong("one mode of eight missing", modes=7),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=20)
    arguments = parser.parse_args()
    held_out = RING.held_out(Path("unused"))
    print("| ring | " + " | ".join(METRICS) + " |\n|---" + "|---" * len(METRICS) + "|")
    floors: dict[str, tuple[float, float]] = {}
    for case in CASES:
        rng = torch.Generator().manual_seed(0)
        sets = [case.draw(arguments.samples, rng) for _ in range(arguments.draws)]
        cells = []
        for label, (metric, key) in METRICS.items():
            reference = metric.reference(held_out, RING)
            found = [metric.compute(reference, points) for points in sets]
            mean, spread = fmean(f[key] for f in found), stdev(f[key] for f in found)
            floor, floor_spread = floors.setdefault(label, (mean, spread))
            if case.label == "truth":
                errors = [f[f"{key}_se"] for f in found if f"{key}_se" in f]
                ratio = f"; error/spread {math.sqrt(fmean(e * e for e in errors)) / spread:.2f}" if errors else ""
                cells.append(f"floor {mean:.2g} ± {spread:.2g}{ratio}")
            else:
                z = abs(mean - floor) / math.hypot(spread, floor_spread) * math.sqrt(2)
                cells.append(f"{mean:.3g} (z = {z:.1f})")
        print(f"| {case.label} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
