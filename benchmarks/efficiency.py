"""Measures how much of a sweep's wall clock and cores is training: a sweep against its bare trials, in one run.

    python benchmarks/efficiency.py search_spaces/critic_dim.yaml --out DIR [--set training.steps=500] [--cores 2]

Bare are all trials of the grid, one after the other in this process on one core, with the same evaluations and nothing
else; every other one before the sweep, the rest after it. The sweep is the command, from its start to its end. Printed:
efficiency, bare seconds / (wall clock × cores), and seconds from the command to the first evaluation, to the last
report of a trial, and to the end (tables, figures, MLflow).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import PlannedTrial, recorded_plan
from gramtune.training.trainer import Trainer


def bare(trial: PlannedTrial) -> float:
    """Seconds of wall clock to build, train and evaluate one trial, with what a report needs of it."""
    started, training = time.monotonic(), trial.config.training
    trainer = Trainer(trial.config, Path("unused"), torch.device("cpu"))
    trainer.evaluate()
    while not trainer.done:
        trainer.advance(min(training.eval_every, training.steps - trainer.step))
        trainer.evaluate()
        trainer.monitor()
    return time.monotonic() - started


def sweep(space: Path, folder: Path, words: list[str]) -> tuple[float, float, float]:
    """Seconds from the command to the first evaluation, to the last evaluation, and to the end."""
    shutil.rmtree(folder, ignore_errors=True)
    started = time.time()
    command = [sys.executable, "-m", "gramtune.cli.main", "sweep", str(space), *words, "--runs", str(folder)]
    with folder.with_suffix(".log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    ended = time.time()
    (journal,) = folder.glob("*/journal.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    reports = [event["time"] for event in events if "metrics" in event]
    return reports[0] - started, reports[-1] - started, ended - started


def main(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    overrides = Overrides(replicates=arguments.replicates, set=tuple(arguments.set))
    trials = recorded_plan(load_sweep(arguments.space, overrides)).trials
    words = [word for setting in arguments.set for word in ("--set", setting)]
    words += ["--replicates", str(arguments.replicates)] if arguments.replicates else []

    before = [bare(trial) for trial in trials[::2]]
    first, last, end = sweep(arguments.space, arguments.out, words)
    after = [bare(trial) for trial in trials[1::2]]
    work = sum(before) + sum(after)
    print(f"{arguments.space.name} {' '.join(words)}: {len(trials)} trials, {work:.1f} s bare")
    for what, seconds in (("last report", last), ("end of the command", end)):
        share = work / (seconds * arguments.cores)
        print(f"  to the {what:<19} {seconds:7.1f} s   efficiency on {arguments.cores} cores {share:.2f}")
    print(f"  to the first evaluation    {first:7.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("space", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--replicates", type=int)
    parser.add_argument("--cores", type=int, default=2)
    main(parser.parse_args())
