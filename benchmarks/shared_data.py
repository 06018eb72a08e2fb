"""Measures the memory of N concurrent trials on a 300 MB data set, lent by the driver or read by each trial.

    python benchmarks/shared_data.py [--trials 1 2 4 8] [--own 1 2]

Linux only: proportional (PSS) and private (USS) memory from /proc/<pid>/smaps_rollup, when every trial has reported.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from gramtune.backends.ray import runner as ray_runner
from gramtune.backends.ray.quiet import ray
from gramtune.record.state import SweepState
from gramtune.run.capacity import Capacity, Node
from gramtune.run.driver import Driver, NothingNew
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan

SPACE = """\
name: shared
base:
  data: {{name: gaussian, dim: 750, n_train: 100000, n_held_out: 1000}}
  objective: {{name: gan}}
  network: {{name: mlp, hidden: [8], critic_hidden: [8]}}
  optimizer: {{name: adam, learning_rate: 1e-4}}
  training: {{batch_size: 64, steps: 1000000, eval_every: 50, eval_samples: 100}}
  metrics: [sliced_wasserstein]
  metric: sliced_wasserstein
space:
  optimizer.learning_rate: {{grid: [{rates}]}}
replicates: 1
"""
MEGABYTE = 1 << 20


class Memory(NamedTuple):
    """Megabytes over all trials' processes."""

    pss: float
    uss: float


def measure(trials: int, *, lent: bool) -> Memory:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "space.yaml"
        file.write_text(SPACE.format(rates=", ".join(f"{1e-4 * (i + 1):.4f}" for i in range(trials))))
        state = SweepState(make_plan(load_sweep(file), Path(folder)))
        driver = Driver(state, Path(folder), NothingNew())
        found: list[Memory] = []
        watcher = threading.Thread(target=watch, args=(state, driver, found))
        watcher.start()
        known, ray_runner.datasets = ray_runner.datasets, ray_runner.datasets if lent else lambda state: []
        try:
            ray_runner.RayRunner(print, trials, Capacity((Node(trials),))).run(driver)
        finally:
            ray_runner.datasets = known
        watcher.join()
    return found[0]


def watch(state: SweepState, driver: Driver, found: list[Memory]) -> None:
    """Once every trial has reported twice: the memory of their processes; then the end."""
    while not all(len(record.reports) >= 2 for record in state.records.values()):
        time.sleep(0.2)
    totals = [rollup(pid) for pid in trial_processes(os.getpid())]
    driver.halt("measured")
    assert len(totals) == len(state.records), f"{len(totals)} processes"
    found.append(Memory(sum(t.pss for t in totals), sum(t.uss for t in totals)))


def trial_processes(driver: int) -> list[int]:
    """Processes of trials below the driver: other sweeps may run on this machine."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and b"ray::ResourceTrainable" in (entry / "cmdline").read_bytes():
                found += [int(entry.name)] if driver in ancestors(int(entry.name)) else []
        except OSError:  # it has ended meanwhile
            continue
    return found


def ancestors(pid: int) -> list[int]:
    line = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        line.append(pid)
    return line


def rollup(pid: int) -> Memory:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {key: int(rest.split()[0]) * 1024 / MEGABYTE for key, _, rest in (line.partition(":") for line in lines)}
    return Memory(sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 2, 4, 8], help="trials at once, data lent")
    parser.add_argument("--own", type=int, nargs="*", default=[1, 2], help="trials at once, each with its own copy")
    options = parser.parse_args()
    cpus = max(options.trials + options.own)
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print("data          trials   PSS, all   PSS, each   USS, each   (MB)")
    for lent, counts in ((True, options.trials), (False, options.own)):
        for trials in counts:
            memory = measure(trials, lent=lent)
            label = "lent" if lent else "own copy"
            each = memory.pss / trials, memory.uss / trials
            print(f"{label:<12} {trials:>7} {memory.pss:>10.0f} {each[0]:>11.0f} {each[1]:>11.0f}", flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
