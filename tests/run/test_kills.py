"""Acceptance: the driver and all its processes are killed at ten random moments; the table equals an undisturbed one.

Slow: see docs/testing.md. Each sweep is begun, killed and resumed through the real command.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid

import pandas as pd
import pytest
from sweeps import BASE, SPACE, marked_processes, write_space

KILLS = 10
COMMAND = [sys.executable, "-m", "gramtune.cli.main"]
SEARCHED = (
    SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "objective.critic_dim: {logint: [1, 64]}").replace(
        "replicates: 2", "  optimizer.learning_rate: {loguniform: [1e-4, 1e-1]}\nreplicates: 2"
    )
    + "search: {name: tpe, samples: 16}\npruner: {name: asha, min_steps: 6, reduction_factor: 2}\n"
)
GRID = SPACE.replace("[1, 4, 16]", "[1, 2, 4, 8, 16, 32]")
LONG = BASE.replace("steps: 6, eval_every: 3", "steps: 48, eval_every: 6")
TOLD = ["trial", "status", "reason", "metric", "mean", "std", "n", "samples", "steps"]


class Sweep:
    """A sweep that is begun, killed and resumed; its processes are known by a mark in their environment."""

    def __init__(self, folder, together):
        self.folder, self.together = folder, together
        self.mark = f"GRAMTUNE_TEST_MARK={uuid.uuid4().hex}"
        self.process = None

    @property
    def run(self):
        return self.folder / "runs" / "axis"

    def start(self, *options):
        what = ["resume", "runs/axis"] if (self.run / "sweep.yaml").exists() else ["sweep", "axis.yaml"]
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [*COMMAND, *what, *self.together, *options],
            cwd=self.folder,
            env={**os.environ, name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def size(self, name):
        path = self.run / name
        return path.stat().st_size if path.exists() else 0

    def lines(self):
        path = self.run / "journal.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def wait_for(self, happened):
        """Until it has happened, or the sweep is over."""
        deadline = time.monotonic() + 600
        while not happened() and self.process.poll() is None:
            assert time.monotonic() < deadline, "nothing new within ten minutes"
            time.sleep(0.0005)

    def kill(self):
        """Everything at once, as when the power fails; new children of those that are left too."""
        os.killpg(self.process.pid, signal.SIGKILL)
        while found := marked_processes(self.mark):
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)
        return self.process.communicate()[0]


def kill_at(sweep, moment, rng):
    """Kills near an event of the journal, or while Optuna's study is written: a proposal, or the end of a trial."""
    begun, events = sweep.lines(), rng.randint(1, 8)
    sweep.wait_for(lambda: sweep.lines() >= begun + events)
    if moment == "proposal":
        written = sweep.size("study.journal")
        sweep.wait_for(lambda: sweep.size("study.journal") > written)
    else:
        time.sleep(rng.uniform(0, 0.3))
    return sweep.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "moments", "together"),
    [
        (GRID, ["any"], ["--max-concurrent", "1"]),
        (SEARCHED, ["any", "proposal"], ["--max-concurrent", "1"]),
        (GRID, ["any"], ["--max-concurrent", "2"]),
        (SEARCHED, ["any", "proposal"], ["--debug"]),
    ],
    ids=["grid", "tpe+asha", "grid, two at once", "tpe+asha, without Ray"],
)
def test_ten_random_kills_leave_the_table_of_an_undisturbed_sweep(space, moments, together, tmp_path):
    write_space(tmp_path, space, LONG)
    reference = [*COMMAND, "sweep", "axis.yaml", "--debug", "--runs", "undisturbed"]
    subprocess.run(reference, cwd=tmp_path, check=True, capture_output=True)
    sweep, rng, killed = Sweep(tmp_path, together), random.Random(0), []
    for kill in range(KILLS):
        sweep.start()
        kill_at(sweep, moments[kill % len(moments)], rng)
        killed.append(sweep.lines())
    sweep.start()
    output, _ = sweep.process.communicate(timeout=1200)
    assert sweep.process.returncode == 0, output
    print(f"killed after {killed} of {sweep.lines()} events")
    assert len(set(killed)) > KILLS // 2
    for name, columns in (("results", None), ("trials", TOLD)):
        ours, theirs = (
            read(folder, name, columns, together) for folder in (tmp_path / "runs", tmp_path / "undisturbed")
        )
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    if space == SEARCHED:
        assert {"PRUNED", "COMPLETED"} <= set(pd.read_parquet(sweep.run / "trials.parquet")["status"])


@pytest.mark.slow
def test_kills_while_replicates_are_added_to_a_finished_sweep(tmp_path):
    write_space(tmp_path, GRID, LONG)
    for command in (["sweep", "axis.yaml"], ["resume", "undisturbed/axis", "--replicates", "4"]):
        runs = ["--runs", "undisturbed"] if command[0] == "sweep" else []
        subprocess.run([*COMMAND, *command, "--debug", *runs], cwd=tmp_path, check=True, capture_output=True)
    sweep, rng = Sweep(tmp_path, ["--max-concurrent", "1"]), random.Random(1)
    sweep.start()
    assert sweep.process.wait(600) == 0
    begun = sweep.lines()
    for kill in range(3):
        sweep.start(*([] if kill else ["--replicates", "4"]))
        kill_at(sweep, "any", rng)
    assert begun < sweep.lines()
    sweep.start()
    output, _ = sweep.process.communicate(timeout=1200)
    assert sweep.process.returncode == 0, output
    for name, columns in (("results", None), ("trials", TOLD)):
        ours, theirs = (read(tmp_path / runs, name, columns, ["1"]) for runs in ("runs", "undisturbed"))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.slow
def test_kills_of_a_sweep_that_gives_replicates_until_decided(tmp_path):
    space = GRID.replace("replicates: 2", "replicates: {min: 3, max: 6, until: decided}\ntolerance: 0.004")
    write_space(tmp_path, space, LONG.replace("steps: 48", "steps: 12"))
    reference = [*COMMAND, "sweep", "axis.yaml", "--debug", "--runs", "undisturbed"]
    subprocess.run(reference, cwd=tmp_path, check=True, capture_output=True)
    sweep, rng, killed = Sweep(tmp_path, ["--max-concurrent", "2"]), random.Random(2), []
    for _ in range(6):
        sweep.start()
        kill_at(sweep, "any", rng)
        killed.append(sweep.lines())
    sweep.start()
    output, _ = sweep.process.communicate(timeout=1200)
    assert sweep.process.returncode == 0, output
    print(f"killed after {killed} of {sweep.lines()} events")
    ours, theirs = (allotted(tmp_path / runs) for runs in ("runs", "undisturbed"))
    assert ours == theirs
    assert ours
    for name, columns in (("results", None), ("trials", TOLD)):
        ours, theirs = (read(tmp_path / runs, name, columns, ["2"]) for runs in ("runs", "undisturbed"))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def allotted(runs):
    lines = (runs / "axis" / "journal.jsonl").read_text().splitlines()
    return [event["replicates"] for event in map(json.loads, lines) if "replicates" in event]


def read(runs, name, columns, together):
    """A table as it is, where trials ran one at a time; sorted otherwise."""
    frame = pd.read_parquet(runs / "axis" / f"{name}.parquet")
    frame = frame if columns is None else frame[columns]
    return frame.sort_values(list(frame.columns[:6]), ignore_index=True) if together[-1] == "2" else frame
