"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gramtune.cli.blame import RefusedOption


@contextmanager
def _refusing() -> Iterator[None]:
    """Issues as an error that typer lets pass. It takes every ValueError for its own and adds two lines of usage."""
    try:
        yield
    except ValueError as error:
        from gramtune.errors import SpecError

        if not isinstance(error, SpecError):
            raise
        raise RefusedOption(error) from None


def local_runs(text: str) -> Path:
    """The folder of all sweeps; for an object store, its local copy."""
    from gramtune.io import local_runs as found

    with _refusing():
        return found(text)


def user_path(text: str) -> Path:
    """A path given by the user."""
    from gramtune.io import user_path as found

    return found(text)


def local_sweep(text: str) -> Path:
    """A sweep's folder; for an object store, a local copy. Raises SpecError if the store cannot be read."""
    from gramtune.run import object_store_run as mirrored

    with _refusing():
        return mirrored.local_sweep(text)


def space_or_run(text: str) -> Path:
    """A space file, the name of a shipped one, or a sweep's folder."""
    return local_sweep(text) if "://" in text else Path(text)


def complete_space(incomplete: str) -> list[str]:
    """Shell completion: shipped space names and YAML files that begin with `incomplete`."""
    from gramtune.space import shipped

    names = [name for name in shipped.spaces() if name.startswith(incomplete)]
    return names + _files(incomplete, ".yaml")


def complete_base(incomplete: str) -> list[str]:
    """Shell completion: shipped base names and YAML files that begin with `incomplete`."""
    from gramtune.space import shipped

    names = [name for name in shipped.bases() if name.startswith(incomplete)]
    return names + _files(incomplete, ".yaml")


def complete_run(incomplete: str) -> list[str]:
    """Shell completion: folders of sweeps that begin with `incomplete`."""
    from glob import escape, glob

    found = [path.rpartition("/")[0] for path in sorted(glob(f"{escape(incomplete)}*/sweep.yaml"))]
    return found + [path.rpartition("/")[0] for path in sorted(glob(f"{escape(incomplete)}*/*/sweep.yaml"))]


def _files(incomplete: str, suffix: str) -> list[str]:
    from glob import escape, glob
    from os.path import isdir

    found = sorted(glob(f"{escape(incomplete)}*"))
    return [f"{path}/" for path in found if isdir(path)] + [path for path in found if path.endswith(suffix)]


Space = Annotated[
    Path,
    typer.Argument(
        metavar="SPACE", help="Space file, or the name of a shipped one: critic_dim.", autocompletion=complete_space
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        help="Use another base: a name in base/ beside the space file, a shipped base, or a path.",
        autocompletion=complete_base,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only issues and failures: no progress, no summary.")]
RUNS = Path("runs")
Runs = Annotated[
    Path,
    typer.Option(
        "--runs",
        envvar="GRAMTUNE_RUNS",
        parser=local_runs,
        metavar="PATH",
        help="Folder of all sweeps, or s3://…, gs://…",
    ),
]
Folder = Annotated[
    Path,
    typer.Argument(
        parser=local_sweep,
        metavar="FOLDER",
        help="The sweep's folder, for example runs/critic-dim.",
        autocompletion=complete_run,
    ),
]
TrainedFolder = Annotated[
    Path,
    typer.Argument(
        parser=local_sweep, metavar="FOLDER", help="Folder of a sweep, for example runs/critic-dim, or of train."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a field of the base: --set training.steps=2000. Repeatable."
    ),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", metavar="FILE", help="A file or module with your own components: --plugin my_gan.py. Repeatable."
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow store [default: SQLite in --runs]."),
]
Register = Annotated[
    str | None, typer.Option("--register", help="Add the best generator to MLflow's model registry under this name.")
]
Replicates = Annotated[
    int | None, typer.Option("--replicates", help="Random initialisations per trial; adds to a finished sweep.")
]
Until = Annotated[
    str | None, typer.Option("--until", help="decided: give more replicates to the values whose verdict is open.")
]
MaxReplicates = Annotated[
    int | None, typer.Option("--max-replicates", help="With --until decided: most replicates per trial [default: 20].")
]
Pilot = Annotated[
    str | None,
    typer.Option(
        "--pilot",
        metavar="VALUESxSEEDS",
        help="With --dry-run: run a pilot first, such as 3x3, and predict verdicts, replicates and time from it.",
    ),
]
Like = Annotated[
    Path | None,
    typer.Option(
        "--like",
        parser=local_sweep,
        metavar="FOLDER",
        help="With --dry-run: predict verdicts, replicates and time from an earlier sweep.",
        autocompletion=complete_run,
    ),
]
Samples = Annotated[int | None, typer.Option("--samples", help="Number of sampled trials; ignored for a grid.")]
TimeBudget = Annotated[
    float | None, typer.Option("--time-budget", help="Seconds of all runs together after which the sweep ends.")
]
MaxConcurrent = Annotated[
    int | None, typer.Option("--max-concurrent", min=1, help="Trials at once [default: as many as fit].")
]
Address = Annotated[
    str | None,
    typer.Option(help="Use a running Ray cluster: HOST:PORT of its head, or auto [default: start Ray here]."),
]
OnEnd = Annotated[
    str | None,
    typer.Option("--on-end", help="Shell command to run when the sweep ends or dies; it can read $GRAMTUNE_STATUS."),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Run in this process, without Ray; each trial has the same numbers. "
        "An exception of a trial ends the sweep with its traceback.",
    ),
]
