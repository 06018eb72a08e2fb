"""`gramtune sample`: draws samples from a trained generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramtune.cli.options import TrainedFolder, user_path


def sample(
    folder: TrainedFolder,
    trial: Annotated[str, typer.Option(help="Number or name of a trial, or best.")] = "best",
    replicate: Annotated[int, typer.Option(min=0, help="Number of the replicate, from 0.")] = 0,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of samples.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    out: Annotated[
        Path,
        typer.Option(
            parser=user_path,
            metavar="PATH",
            help="One .png with all samples, a folder (one PNG per sample), or a .safetensors file.",
        ),
    ] = Path("samples.png"),
) -> None:
    """Draw samples from a trial that has a checkpoint; the sweep may still be running."""
    from gramtune.analysis.checkpoints import load
    from gramtune.cli.trained import trained_in
    from gramtune.errors import Issue, SpecError, count
    from gramtune.record.sample_files import check_target, write_samples
    from gramtune.run.capacity import claim, grant, here
    from gramtune.space.resources import Resources
    from gramtune.training.generator import draw_samples

    chosen = trained_in(folder, trial)[0]
    check_target(out, chosen.config.data.kind)
    generators = load(chosen)
    if replicate not in generators.networks:
        reason = generators.diverged.get(replicate, "no such replicate")
        legal = f"legal: {', '.join(map(str, generators.networks)) or 'none'}"
        raise SpecError([Issue("--replicate", f"{replicate} of {chosen.name}: {reason}; {legal}")])
    generator, step = generators.networks[replicate], generators.steps[replicate]
    device = claim(grant(Resources(), here()))
    samples = draw_samples(chosen.config, generator, n, seed, "sample", device)
    about = {"trial": chosen.name, "replicate": replicate, "step": step, "seed": seed}
    try:
        write_samples(samples, out, {key: str(value) for key, value in about.items()})
    except OSError as error:
        raise SpecError([Issue("--out", f"{out} cannot be written: {error.strerror or error}")]) from None
    typer.echo(f"{count(n, 'sample')} of {chosen.name}, replicate {replicate}, step {step}: {out}")
