"""The folder of a sweep: begun, found again, and what is done where one is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gramtune.errors import Issue, SpecError, count
from gramtune.io import data_root
from gramtune.record.journal import load_state
from gramtune.record.state import SweepState
from gramtune.record.tables import SWEEP_FILE, write_sweep, write_versions
from gramtune.run.resume_policy import changes, refusals
from gramtune.space.load import NO_OVERRIDES, Overrides, load_sweep
from gramtune.space.plan import Plan, make_plan, recorded_plan
from gramtune.space.sweep import Sweep

Ask = Callable[[str], bool]
"""Whether the user says yes to a question."""


def existing_plan(folder: Path, overrides: Overrides = NO_OVERRIDES) -> Plan:
    """The plan of a sweep that has been started in `folder`. Raises SpecError if there is none."""
    return make_plan(_existing(folder, overrides), data_root(), folder / SWEEP_FILE, overrides)


def recorded_state(folder: Path) -> SweepState:
    """What the journal of a sweep in `folder` tells, running or not; its data need not be on this machine.

    Raises SpecError if there is none.
    """
    return load_state(folder, recorded_plan(_existing(folder)))


def _existing(folder: Path, overrides: Overrides = NO_OVERRIDES) -> Sweep:
    if not (folder / SWEEP_FILE).is_file():
        sweeps = sorted(path.parent.name for path in folder.parent.glob(f"*/{SWEEP_FILE}"))
        there = f"; {folder.parent} holds {', '.join(sweeps)}" if sweeps else ""
        raise SpecError([Issue(str(folder), f"holds no sweep (no {SWEEP_FILE}){there}")])
    return load_sweep(folder / SWEEP_FILE, overrides)


def start_folder(plan: Plan, folder: Path) -> None:
    """Begins a sweep in `folder`. Raises SpecError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_versions(plan, folder)
        write_sweep(plan.sweep, folder)  # last: where it is, there is a sweep
    except OSError as error:
        raise SpecError([Issue("--runs", f"{folder} cannot be written: {error.strerror or error}")]) from None


def agreed(folder: Path, wanted: Sweep, ask: Ask) -> SweepState:
    """The state of the sweep that is there already. Raises SpecError if it cannot, or shall not, go on as `wanted`."""
    state = load_state(folder, existing_plan(folder))
    refuse(refusals(state, wanted), folder)
    finished = f"{len(state.records) - len(state.unfinished)} of {count(state.plan.size, 'trial')} finished"
    grown = not state.unfinished and bool(changes(state.plan.sweep, wanted))
    if not grown and not ask(f"{folder}: this sweep is there already, {finished}. Go on with it?"):
        refuse([f"this sweep is there already, {finished}"], folder)
    return state


def refuse(lines: Sequence[str], folder: Path) -> None:
    """Raises SpecError if there are `lines` that speak against going on with the sweep in `folder` as was asked for."""
    ways = f"as it is, it goes on with: gramtune resume {folder}; or choose another --name"
    if lines:
        raise SpecError([Issue(str(folder), f"{line}; {ways}") for line in lines])
