"""`gramtune evaluate`: evaluates trained generators with more samples or other metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from gramtune.cli.options import TrainedFolder
from gramtune.errors import count

if TYPE_CHECKING:
    from gramtune.analysis.checkpoints import Trained
    from gramtune.analysis.reevaluate import Line
    from gramtune.training.config import TrialConfig


def evaluate(
    folder: TrainedFolder,
    trial: Annotated[
        str, typer.Option(help="Number or name of a trial; best; or all (every trial with a checkpoint).")
    ] = "best",
    samples: Annotated[int, typer.Option(min=2, help="Generated samples per value.")] = 10_000,
    metrics: Annotated[str | None, typer.Option(help="Names, separated by commas [default: the sweep's own].")] = None,
    noise_seeds: Annotated[int, typer.Option(min=1, help="Draws of noise per replicate.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    gpu: Annotated[bool, typer.Option("--gpu/--cpu", help="Use the GPU.")] = False,
) -> None:
    """Evaluate trained generators again. Appends to evaluations.csv; the sweep's own numbers do not change."""
    from gramtune.analysis.reevaluate import evaluate as evaluated
    from gramtune.analysis.reevaluate import lines, store
    from gramtune.cli.trained import trained_in
    from gramtune.io import data_root
    from gramtune.run.capacity import claim, grant, here
    from gramtune.space.resources import Resources
    from gramtune.training.real_data import RealData

    chosen = _checked(trained_in(folder, trial), metrics, samples)
    device = claim(grant(Resources(cpu=threads, gpu=int(gpu)), here()))
    rows, real = [], RealData()
    for each in chosen:
        rows += (own := list(evaluated(each, data_root(), device, samples, noise_seeds, real)))
        path = store(own, folder)
        for line in lines(own):
            typer.echo(_text(line, samples, noise_seeds))
    typer.echo(f"{count(len(rows), 'value')}: {path}")


def _checked(trials: list[Trained], metrics: str | None, samples: int) -> list[Trained]:
    """The trials with the requested metrics. Raises SpecError if those do not fit the data; warns of bias."""
    from gramtune.analysis.reevaluate import with_metrics
    from gramtune.errors import Issue, SpecError
    from gramtune.io import data_root
    from gramtune.space.plan import issues_of, sample_warnings

    names = metrics.split(",") if metrics is not None else None
    chosen = [replace(t, config=with_metrics(t.config, names)) if names else t for t in trials]
    for part in dict.fromkeys(
        t.config.data.held_out_name for t in chosen if t.config.data.for_report() != t.config.data
    ):
        typer.echo(f"The sweep chose on the {part} part; these values are on the test part.", err=True)
    chosen = [replace(t, config=t.config.model_copy(update={"data": t.config.data.for_report()})) for t in chosen]
    if found := issues_of([_judged(trial.config, samples) for trial in chosen], data_root()):
        options: dict[tuple[str | int, ...], str] = {("training", "eval_samples"): "--samples"}
        raise SpecError([Issue(options.get(part, "--metrics"), message) for part, message in found])
    for warning in dict.fromkeys(w for trial in chosen for w in sample_warnings(trial.config, samples)):
        typer.echo(f"warning: {warning}", err=True)
    return chosen


def _judged(config: TrialConfig, samples: int) -> TrialConfig:
    """The configuration with the requested number of samples instead of the sweep's own."""
    training = config.training.model_copy(update={"eval_samples": samples})
    return config.model_copy(update={"training": training})


def _text(line: Line, samples: int, noise_seeds: int) -> str:
    """`K=64  kid_digits  0.0012 ± 0.0003 (n=3)  step 1500, 10,000 samples; ± 0.0001 over 5 draws of noise`."""
    from gramtune.cli.text import spread

    noise = f"; ± {line.noise_std:.2g} over {count(noise_seeds, 'draw')} of noise" if line.noise_std is not None else ""
    value = f"{line.metric} {spread(line.summary)}"
    return f"{line.trial}  {value}  step {line.step}, {samples:,} samples each{noise}"
