"""Runs the pilot of `gramtune sweep --dry-run`, or reads an earlier sweep in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gramtune.analysis.planning import Pilot, check_pilot
from gramtune.errors import Issue, SpecError
from gramtune.io import command
from gramtune.result import Result
from gramtune.run.pilot import pilot_plan, pilot_size
from gramtune.run.run_directory import recorded_state
from gramtune.space.plan import Plan


def known_spread(
    plan: Plan, pilot: str | None, like: Path | None, dry_run: bool, run: Callable[..., Result]
) -> Pilot | None:
    """The sweep that `--pilot` or `--like` names; None without them. Raises SpecError if it cannot be used."""
    if pilot is None and like is None:
        return None
    option = "--pilot" if pilot is not None else "--like"
    if not dry_run:
        raise SpecError([Issue(option, "only works with --dry-run; add it")])
    if pilot is not None and like is not None:
        raise SpecError([Issue("--pilot", "excludes --like; use one of them")])
    found = Pilot(recorded_state(like), str(like)) if like else _run_pilot(plan, pilot or "", run)
    check_pilot(plan, found)
    return found


def _run_pilot(plan: Plan, text: str, run: Callable[..., Result]) -> Pilot:
    """Runs or resumes the pilot; reads it if it is finished."""
    result = run(pilot_plan(plan, pilot_size(text)), ask=lambda question: True)
    if not result.complete:
        raise SpecError(
            [Issue("--pilot", f"the pilot is not finished; resume it with: {command('resume', result.folder)}")]
        )
    return Pilot(result.state, str(result.folder))
