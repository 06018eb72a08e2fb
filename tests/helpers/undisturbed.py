"""Reads events of a running sweep's journal, and compares its results with those of an uninterrupted sweep."""

import json

import pandas as pd

from gramtune import load_sweep, run_sweep
from gramtune.space.load import Overrides

SETTINGS = ("training.steps=1000", "training.eval_every=20")
WORDS = [word for setting in SETTINGS for word in ("--set", setting)]


def events(folder):
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def reports(folder):
    """Steps of each trial in the order in which they were reported, in one list for each time that it began."""
    begun = {}
    for event in events(folder):
        if event.get("status") == "RUNNING" and "step" not in event:
            begun.setdefault(event["trial"], []).append([])
        elif "step" in event:
            begun[event["trial"]][-1].append(event["step"])
    return begun


def all_under_way(folder):
    begun = reports(folder)
    return len(begun) == 3 and all(len(steps[-1]) >= 3 for steps in begun.values())


def results(folder):
    frame = pd.read_parquet(folder / "results.parquet")
    return frame.sort_values(["trial", "replicate", "step", "metric"], ignore_index=True)


def assert_undisturbed(folder, space, settings=SETTINGS):
    """The same numbers as in this process, one trial after the other."""
    plain = run_sweep(load_sweep(space, Overrides(set=settings)), space.parent / "undisturbed", debug=True)
    pd.testing.assert_frame_equal(results(folder), results(plain.folder), check_exact=True)
