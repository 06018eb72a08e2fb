"""Measures how far numbers repeat across machines: one training with two instruction sets and two thread counts.

    python benchmarks/repeatability.py [--base ring] [--steps 1 10 100] [--output-bias]

Each variant is a process of its own, as another machine would be. It prints max |Δ| / max |value| of the generator's
and the critic's parameters against the first variant. `--output-bias` puts back the bias of the critic's last layer,
which has no gradient under `gram`, and prints how far it walked.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

VARIANTS = {
    "AVX-512 or what the CPU has, 1 thread": {"OMP_NUM_THREADS": "1"},
    "the same, 2 threads": {"OMP_NUM_THREADS": "2"},
    "AVX2, 1 thread": {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}
"""What differs between machines that run the same wheel of torch."""
BASES = Path(__file__).parents[1] / "search_spaces" / "base"


def worker(base: str, steps: list[int], output_bias: bool) -> None:
    """Prints, as JSON, the parameters by network after each number of steps."""
    import torch
    from torch import nn

    from gramtune.space.load import load_config
    from gramtune.training import networks
    from gramtune.training.trainer import Trainer

    if output_bias:
        networks._drop_output_bias = lambda network: None
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    trained = Trainer(
        load_config(BASES / f"{base}.yaml", ("training.replicates=1",)), Path("data"), torch.device("cpu")
    )
    found, taken = {}, 0
    for step in steps:
        trained.advance(step - taken)
        taken = step
        parts = {label: trained.replicates.network(label, 0) for label in ("generator", "critic")}
        found[step] = {
            label: nn.utils.parameters_to_vector(part.parameters()).tolist() for label, part in parts.items()
        }
        last = [layer for layer in parts["critic"].modules() if isinstance(layer, nn.Linear)][-1]
        found[step]["output bias"] = [] if last.bias is None else last.bias.tolist()
    print(json.dumps(found))


def distance(a: list[float], b: list[float]) -> str:
    if not a:
        return "–"
    return f"{max(abs(x - y) for x, y in zip(a, b, strict=True)) / max(map(abs, a)):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--base", default="ring")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--output-bias", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.base, arguments.steps, arguments.output_bias)
        return
    runs = []
    for environment in VARIANTS.values():
        command = [sys.executable, *sys.argv, "--worker"]
        done = subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    print("| variant | steps | generator | critic | its output bias | largest output bias |\n|---|---|---|---|---|---|")
    for label, run in zip(VARIANTS, runs, strict=True):
        for step in map(str, arguments.steps):
            first, own = runs[0][step], run[step]
            cells = [distance(first[part], own[part]) for part in ("generator", "critic", "output bias")]
            largest = f"{max(map(abs, own['output bias'])):.1e}" if own["output bias"] else "–"
            print(f"| {label} | {step} | {' | '.join(cells)} | {largest} |")


if __name__ == "__main__":
    main()
