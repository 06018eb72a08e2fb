"""Creates the folder of a sweep, or finds and checks an existing one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gramtune.errors import Issue, SpecError, count
from gramtune.io import command, data_root
from gramtune.record.journal import load_state
from gramtune.record.state import SweepState
from gramtune.record.tables import SWEEP_FILE, write_sweep, write_versions
from gramtune.record.warm_start import read_warm_start, store_warm_start
from gramtune.run.resume_policy import changes, refusals
from gramtune.space.load import NO_OVERRIDES, Overrides, load_sweep
from gramtune.space.plan import Plan, make_plan, recorded_plan
from gramtune.space.sweep import Sweep

Ask = Callable[[str], bool]
"""Asks the user a yes-or-no question."""


def existing_plan(folder: Path, overrides: Overrides = NO_OVERRIDES) -> Plan:
    """The plan of a sweep that was started in `folder`. Raises SpecError if there is none."""
    return make_plan(_existing(folder, overrides), data_root())


def recorded_state(folder: Path) -> SweepState:
    """The state recorded in the journal of `folder`; the sweep may be running, and its data may be missing here.

    Raises SpecError if there is none.
    """
    return load_state(folder, recorded_plan(_existing(folder)))


def _existing(folder: Path, overrides: Overrides = NO_OVERRIDES) -> Sweep:
    if not (folder / SWEEP_FILE).is_file():
        sweeps = sorted(path.parent.name for path in folder.parent.glob(f"*/{SWEEP_FILE}"))
        there = f"; {folder.parent} holds {', '.join(sweeps)}" if sweeps else ""
        raise SpecError([Issue(str(folder), f"holds no sweep (no {SWEEP_FILE}){there}")])
    return load_sweep(folder / SWEEP_FILE, overrides)


def start_folder(plan: Plan, folder: Path, say: Callable[[str], None] = print) -> None:
    """Starts a sweep in `folder`. Raises SpecError if it is not writable."""
    warm = read_warm_start(plan.sweep, plan.metric)
    for note in warm.notes:
        say(note)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_versions(plan, folder)
        if plan.sweep.search.warm_start:
            store_warm_start(warm, folder)
        write_sweep(plan.sweep, folder)  # written last: this file marks the folder as a sweep
    except OSError as error:
        raise SpecError([Issue("--runs", f"{folder} cannot be written: {error.strerror or error}")]) from None


def agreed(folder: Path, wanted: Sweep, ask: Ask) -> SweepState:
    """The state of the existing sweep. Raises SpecError if it cannot continue as `wanted`, or if the user declines."""
    state = load_state(folder, existing_plan(folder))
    refuse(refusals(state, wanted), folder)
    finished = f"{len(state.records) - len(state.unfinished)} of {count(state.plan.size, 'trial')} finished"
    grown = not state.unfinished and bool(changes(state.plan.sweep, wanted))
    if not grown and not ask(f"{folder} already holds this sweep, {finished}. Resume it?"):
        refuse([f"this sweep already exists, {finished}"], folder)
    return state


def refuse(lines: Sequence[str], folder: Path) -> None:
    """Raises SpecError if there are `lines`: reasons why the sweep in `folder` cannot continue as requested."""
    ways = f"to continue it unchanged: {command('resume', folder)}; or choose another --name"
    if lines:
        raise SpecError([Issue(str(folder), f"{line}; {ways}") for line in lines])
