"""`gramtune train`: trains one configuration, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramtune.cli.options import RUNS, Plugins, Quiet, Runs, Settings, complete_base


def train(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="BASE", help="Base file, or the name of a shipped one: digits.", autocompletion=complete_base
        ),
    ],
    settings: Settings = None,
    plugins: Plugins = None,
    replicates: Annotated[int, typer.Option(min=1, help="Number of random initialisations.")] = 1,
    name: Annotated[str | None, typer.Option(help="Folder of the results in --runs [default: train-<config>].")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    gpu: Annotated[bool, typer.Option("--gpu/--cpu", help="Train on the GPU.")] = False,
    runs: Runs = RUNS,
    quiet: Quiet = False,
) -> None:
    """Train one configuration in this process. The same command resumes it from the newest checkpoint."""
    import json

    from rich.console import Console

    from gramtune.analysis.checkpoints import CONFIG_FILE, PLUGINS_FILE
    from gramtune.cli.train_view import run_with_progress
    from gramtune.errors import Issue, SpecError
    from gramtune.io import data_root
    from gramtune.plugins import loaded
    from gramtune.run.capacity import claimed, grant, here
    from gramtune.run.trial_runner import TrialRun
    from gramtune.space.load import load_plugins, located_config
    from gramtune.space.plan import issues_of
    from gramtune.space.resources import Resources

    load_plugins(plugins or ())
    given = (*(settings or ()), f"training.replicates={replicates}")
    trial, origins = located_config(config, given)
    issues = [Issue(origins.where(part), message) for part, message in issues_of([trial], data_root())]
    share = grant(Resources(cpu=threads, gpu=int(gpu)), here())
    folder = runs / (name or f"train-{config.stem}")
    described = folder / CONFIG_FILE
    text = trial.model_dump_json(indent=2)
    if described.exists() and described.read_text() != text:
        issues.append(Issue(str(folder), "holds a run of another configuration; choose another --name"))
    if issues:
        raise SpecError(issues)
    folder.mkdir(parents=True, exist_ok=True)
    described.write_text(text)
    if own := [plugin.model_dump() for plugin in loaded()]:
        (folder / PLUGINS_FILE).write_text(json.dumps(own))
    if share.note:
        typer.echo(share.note)
    with claimed(share) as device:
        run = TrialRun(trial, folder, data_root(), device)
        raise typer.Exit(run_with_progress(run, trial, folder, Console(quiet=quiet)))
