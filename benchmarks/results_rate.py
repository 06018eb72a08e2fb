"""Measures how many results per second a sweep handles with MLflow tracking; its trials do little but report.

    python benchmarks/results_rate.py --out /tmp/rate [--trials 8] [--reports 250]

Each trial takes a training step of a millisecond between two evaluations; Ray with two actors, the journal (an fsync
per result), MLflow in SQLite. Printed: results per second over the middle half of the sweep, the driver's processor
time per result, when the first and the last result and the end came, and how many values MLflow has then.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from pathlib import Path

from gramtune.api import run_sweep
from gramtune.space.load import Overrides, load_sweep

SPACE = Path(__file__).parent / "spaces" / "trivial.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--reports", type=int, default=250)
    options = parser.parse_args()
    settings = (f"training.steps={options.reports - 1}", "training.eval_every=1")
    sweep = load_sweep(SPACE, Overrides(samples=options.trials, set=settings))
    started, processor = time.time(), time.process_time()
    result = run_sweep(sweep, options.out, say=lambda line: None)
    ended, processor = time.time(), time.process_time() - processor
    events = [json.loads(line) for line in (result.folder / "journal.jsonl").read_text().splitlines()]
    times = sorted(event["time"] for event in events if "metrics" in event)
    n = len(times)
    assert n == options.trials * options.reports
    middle = (n // 2) / (times[3 * n // 4] - times[n // 4])
    cost = 1e3 * processor / n
    print(f"{n} results; {middle:.0f} per second in the middle half, {cost:.1f} ms of the driver's processor time each")
    first, last, end = (at - started for at in (times[0], times[-1], ended))
    print(f"first result after {first:.1f} s, last after {last:.1f} s, end after {end:.1f} s")
    (database,) = options.out.glob(".mlflow/*.db")
    with sqlite3.connect(database) as store:
        stored = store.execute("select count(*) from metrics where key = 'sliced_wasserstein'").fetchone()[0]
    print(f"MLflow has {stored} values of the metric")


if __name__ == "__main__":
    main()
