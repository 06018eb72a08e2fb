"""`gramtune init`: writes a commented space file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_TEXT = """\
# yaml-language-server: $schema={schema}
name: {name}                # folder under runs/, and the run in MLflow
about: Which critic dimension and learning rate work best?
base: {base:<18}# one complete trial: a shipped base (gramtune list bases), or a file such as base/mine.yaml

# The varied keys: a dotted path into the base, and its values. Several grids are combined to their product.
# All fields: gramtune describe objective gram; gramtune describe optimizer adam; …
space:
  objective.critic_dim: {{grid: [{dims}]}}
  optimizer.learning_rate: {{grid: [1e-4, 1e-3]}}
  # method:                          # bundles of values under a name, such as the methods of a comparison
  #   cases:
  #     GRAM: {{objective.name: gram}}
  #     GAN: {{objective.name: gan}}
  # objective.critic_dim: {{grid: [16, 64], when: {{method: GRAM}}}}     # varied only for GRAM

replicates: 3                # random initialisations per trial; replicate i has the same seeds in every trial
# tolerance: 0.1             # a key is insensitive if every value is within 10 % of the best

# A sampler instead of a grid: random, tpe, cmaes, gp, qmc, nsga2; from choice, uniform, loguniform, int, logint.
# search: {{name: tpe, samples: 40}}
# Stop hopeless trials early (asha, hyperband, median). The best trial is stopped with at most this probability:
# pruner: {{name: asha, false_prune_rate: 0.2}}
# budget: {{seconds: 3600}}

resources: {{cpu: 1, gpu: 0.25}}   # per trial; without a GPU the gpu part is ignored, with a note
"""
_SCHEMA = "gramtune.schema.json"


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the sweep; the file is NAME.yaml.")] = "my-sweep",
    base: Annotated[str, typer.Option(help="A shipped base (gramtune list bases), or a base file.")] = "digits",
) -> None:
    """Write a commented space file, ready to run, and its JSON Schema for editors."""
    from gramtune.cli.catalogue import write
    from gramtune.errors import Issue, SpecError
    from gramtune.space.load import load_config, load_sweep
    from gramtune.space.schema import schema_text

    file = Path(f"{name}.yaml")
    if file.exists():
        raise SpecError([Issue(str(file), "exists already; choose another name")])
    config = load_config(base)
    own = getattr(config.objective, "critic_dim", None)
    if own is None:
        raise SpecError([Issue("--base", f"objective {config.objective.name} of {base} has no critic_dim to vary")])
    dims = ", ".join(map(str, sorted({max(1, own // 4), own, own * 4})))
    text = _TEXT.format(name=name, base=base, dims=dims, schema=_SCHEMA)
    write(file, text)
    try:
        load_sweep(file)
    except SpecError:
        file.unlink()
        raise
    write(file.with_name(_SCHEMA), schema_text("space"))
    note = "editors use the schema to complete and check keys"
    typer.echo(f"wrote {file} and {_SCHEMA} ({note}); next: gramtune sweep {file}")
