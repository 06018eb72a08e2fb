"""Runs numerical tests with every kind of CPU kernel that this machine can imitate, with one and with two threads.

    python tests/cpu_variants.py [FILE ...] [-- PYTEST OPTIONS]

torch, oneDNN and MKL choose kernels by the processor, and each kernel rounds in its own way. A test that passes on one
machine alone has a tolerance fitted to that machine, or it has found a promise that is broken on others. Prints a line
per variant; the exit status is 1 if any of them fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

VARIANTS = (
    {},
    {"ATEN_CPU_CAPABILITY": "default"},
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"ATEN_CPU_CAPABILITY": "avx512"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
)
THREADS = ("1", "2")
NUMERICAL = (
    "objectives/test_objectives.py",
    "training/test_trainer.py",
    "stats/test_stats.py",
    "training/test_perceptron.py",
)


def available(variant: dict[str, str]) -> bool:
    """Whether torch takes the variant: on a machine without AVX-512 it falls back to another one, silently."""
    wanted = variant.get("ATEN_CPU_CAPABILITY")
    if wanted is None:
        return True
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **variant}, capture_output=True, text=True)
    return done.stdout.strip().lower() == wanted


def main() -> int:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    folder = Path(__file__).parent
    files, options = arguments[:cut] or [str(folder / name) for name in NUMERICAL], arguments[cut + 1 :]
    failures = 0
    for variant in VARIANTS:
        name = " ".join(f"{key}={value}" for key, value in variant.items()) or "as the machine is"
        if not available(variant):
            print(f"{name:<40} not on this machine", flush=True)
            continue
        for threads in THREADS:
            environment = {**os.environ, **variant, "OMP_NUM_THREADS": threads}
            command = [sys.executable, "-m", "pytest", "-q", *files, *options]
            began = time.monotonic()
            done = subprocess.run(command, env=environment, cwd=folder.parent, capture_output=True, text=True)
            lines = done.stdout.strip().splitlines()
            result = lines[-1].strip("= ") if lines else done.stderr.strip()
            print(f"{name:<40} {threads} thread(s): {result} [{time.monotonic() - began:.0f} s]", flush=True)
            failures += done.returncode != 0
            for line in lines if done.returncode else ():
                if line.startswith(("FAILED", "ERROR")):
                    print(f"    {line}", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
