"""Measures the overhead of a trial: a thousand trivial trials through Ray, Optuna, the journal and MLflow.

    python benchmarks/overhead.py --samples 1000 --out /tmp/overhead [--sweep-only]

Prints wall-clock and the driver's processor seconds per trial over the sweep, the driver's memory, MLflow's time, and
how far each is from a straight line. Processor seconds can be compared on a machine that does other things meanwhile.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gramtune.api import resume_sweep, run_sweep
from gramtune.backends.mlflow.tracker import MlflowTracker
from gramtune.record.journal import load_state
from gramtune.record.state import SweepState
from gramtune.run.run_directory import existing_plan
from gramtune.space.load import Overrides, load_sweep

SPACE = Path(__file__).parent / "spaces" / "trivial.yaml"


class Sample(NamedTuple):
    """The driver at one moment."""

    seconds: float
    finished: int
    megabytes: float
    processor: float
    """Seconds of processor time of this process, all threads."""


class Watch:
    """Samples the driver once a second while the sweep runs."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    @contextmanager
    def __call__(self, state: SweepState) -> Iterator[None]:
        started, stop = time.monotonic(), threading.Event()

        def sample() -> None:
            while not stop.wait(1.0):
                finished = sum(record.status.final for record in state.records.values())
                self.samples.append(
                    Sample(time.monotonic() - started, finished, resident_megabytes(), time.process_time())
                )

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def resident_megabytes() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def straightness(name: str, unit: str, n: np.ndarray, y: np.ndarray) -> str:
    """Slope per trial of a fitted line, and the share of the last value that a parabola's curvature explains."""
    slope, offset = np.polyfit(n, y, 1)
    bend, _, _ = np.polyfit(n, y, 2)
    residual = float(np.sqrt(np.mean((y - slope * n - offset) ** 2)))
    curved = bend * (n[-1] - n[0]) ** 2 / 4  # how far the parabola leaves its chord, in the middle
    return (
        f"{name}: {slope:.4g} {unit} per trial, offset {offset:.4g}; "
        f"residual {residual:.2g}, leaves its chord by {abs(curved) / abs(y[-1] - y[0]):.1%} of the rise"
    )


def mlflow_seconds(folder: Path, out: Path, counts: list[int]) -> list[float]:
    """Processor time to store the first n trials in a new SQLite store, for each n."""
    plan, seconds = existing_plan(folder), []
    for count in counts:
        state = load_state(folder, plan)
        state.records = dict(list(state.records.items())[:count])
        tracker = MlflowTracker(f"sqlite:///{out / f'mlflow-{count}.db'}", folder)
        started = time.process_time()
        tracker.sync(state)
        seconds.append(time.process_time() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sweep-only", action="store_true", help="neither resume it nor store it again")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    watch = Watch()
    sweep = load_sweep(SPACE, Overrides(samples=options.samples))
    started = time.monotonic()
    result = run_sweep(sweep, options.out, watch=watch, say=lambda line: None)
    total = time.monotonic() - started
    ran = [sample for sample in watch.samples if sample.finished]
    seconds, n, megabytes, processor = (np.array(column, dtype=float) for column in zip(*ran, strict=True))
    trained = sum(record.last.seconds for record in result.state.records.values() if record.last)
    quarter = len(result.state.records) // 4
    print(f"{len(result.state.records)} trials in {total:.0f} s, of which {ran[-1].seconds:.0f} s until the last ended")
    print(f"training and evaluation inside the trials: {trained:.0f} s over all workers")
    for part in range(4):
        inside = seconds[(n > part * quarter) & (n <= (part + 1) * quarter)]
        if len(inside) > 1:
            print(f"quarter {part + 1}: {(inside[-1] - inside[0]) / quarter:.3f} s per trial")
    print(straightness("time", "s", n, seconds))
    print(straightness("processor time of the driver", "s", n, processor))
    print(straightness("driver memory", "MB", n, megabytes), f"; {megabytes[0]:.0f} to {megabytes[-1]:.0f} MB")
    (options.out / "samples.json").write_text(json.dumps(ran))
    if not options.sweep_only:
        afterwards(result.folder, options)


def afterwards(folder: Path, options: argparse.Namespace) -> None:
    """Measures the cost of resuming the finished sweep, and of storing it in another store."""
    started = time.process_time()
    resume_sweep(folder, say=lambda line: None, debug=True)
    print(f"resume of the finished sweep, tables and figures included: {time.process_time() - started:.1f} processor s")
    counts = [options.samples * k // 4 for k in (1, 2, 3, 4)]
    stored = mlflow_seconds(folder, options.out, counts)
    print(
        "MLflow, a new SQLite store, processor time: "
        + ", ".join(f"{c} trials {s:.1f} s" for c, s in zip(counts, stored, strict=True))
    )
    print(straightness("MLflow", "s", np.array(counts, dtype=float), np.array(stored)))


if __name__ == "__main__":
    main()
