"""`gramtune train`: one configuration, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramtune.cli.options import Runs, Settings


def train(
    config: Annotated[Path, typer.Argument(help="Base file, for example search_spaces/base/digits.yaml.")],
    settings: Settings = None,
    replicates: Annotated[int, typer.Option(min=1, help="Random initialisations.")] = 1,
    name: Annotated[str | None, typer.Option(help="Folder of the results in --runs [default: train-<config>].")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    gpu: Annotated[bool, typer.Option("--gpu/--cpu", help="Train on the GPU.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Train one configuration in this process; the same command again goes on from the newest checkpoint."""
    import torch
    from rich.console import Console

    from gramtune.cli.train_view import run_with_progress
    from gramtune.paths import data_root
    from gramtune.sweep.faults import Fault, SpecError
    from gramtune.sweep.plan import config_faults
    from gramtune.sweep.spec import load_config
    from gramtune.sweep.trial import TrialRun

    trial = load_config(config, (*(settings or ()), f"training.replicates={replicates}"))
    faults = [Fault(str(config), message) for message in config_faults(trial, data_root())]
    if gpu and not torch.cuda.is_available():
        faults.append(Fault("--gpu", "torch sees no GPU on this machine; leave it out to train on the CPU"))
    folder = runs / (name or f"train-{config.stem}")
    described = folder / "config.json"
    text = trial.model_dump_json(indent=2)
    if described.exists() and described.read_text() != text:
        faults.append(Fault(str(folder), "holds a run of another configuration; choose another --name"))
    if faults:
        raise SpecError(faults)
    folder.mkdir(parents=True, exist_ok=True)
    described.write_text(text)
    torch.set_num_threads(threads)
    run = TrialRun(trial, folder, data_root(), torch.device("cuda" if gpu else "cpu"))
    raise typer.Exit(run_with_progress(run, trial, folder, Console()))
