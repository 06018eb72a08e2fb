"""`gramtune validate`: lists every issue in a space file; starts nothing."""

from __future__ import annotations

import typer

from gramtune.cli.options import Base, Plugins, Settings, Space
from gramtune.errors import count


def validate(
    space: Space,
    base: Base = None,
    settings: Settings = None,
    plugins: Plugins = None,
) -> None:
    """Check a space file: every value of every key, the networks for the data's shape, and the files that it needs."""
    from gramtune.io import data_root
    from gramtune.space.load import Overrides, load_sweep
    from gramtune.space.plan import make_plan

    overrides = Overrides(base=base, set=tuple(settings or ()), plugins=tuple(plugins or ()))
    plan = make_plan(load_sweep(space, overrides), data_root())
    for warning in plan.warnings:
        typer.echo(f"warning: {warning}", err=True)
    trials = f"{count(plan.size, 'trial')} × {plan.sweep.replicates_text}"
    typer.echo(f"{space}: {trials}, metric {plan.metric}: no issue")
