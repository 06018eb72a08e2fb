"""`gramtune`: collects the commands and turns issues into lines and exit codes."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from typing import Annotated

import typer

from gramtune.cli.blame import BlamingCommand
from gramtune.cli.clean import clean
from gramtune.cli.cluster import attach, down, stop
from gramtune.cli.doctor import doctor
from gramtune.cli.enqueue import enqueue
from gramtune.cli.evaluate import evaluate
from gramtune.cli.export import export
from gramtune.cli.launch import launch
from gramtune.cli.replay import replay
from gramtune.cli.report import report
from gramtune.cli.resume import resume
from gramtune.cli.sample import sample
from gramtune.cli.streams import harden
from gramtune.cli.sweep import sweep
from gramtune.cli.sync import sync
from gramtune.cli.train import train
from gramtune.cli.ui import ui
from gramtune.cli.validate import validate

_OBJECTS = 100_000
"""New objects after which garbage is looked for. Torch, Ray and MLflow are a million when they are imported, and stay:
with Python's 700 a fifth of the time that importing them takes goes into looking through them."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich would take "[default: all]" for markup and drop it
)
_COMMANDS = (sweep, resume, train, validate, report, export, ui, sync, replay, sample, evaluate, clean, enqueue)
_ON_CLUSTERS = (attach, stop, down, doctor)
for _command in (*_COMMANDS, *_ON_CLUSTERS):
    app.command(cls=BlamingCommand)(_command)
app.command(cls=BlamingCommand, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(launch)


def _print_version(wanted: bool) -> None:
    if wanted:
        from gramtune import __version__

        typer.echo(f"gramtune {__version__}")
        raise typer.Exit


@app.callback()
def gramtune(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hyperparameter sweeps for GRAM-nets and the models they are compared with."""


def script() -> None:
    """Entry point of the command: `main`, and then the end of the process, without Python's own."""
    harden()
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, int):
            _leave(end.code)
        raise


def main() -> None:
    """Runs a command. Exit code 0: all fine; 1: a trial failed, or all diverged; 2: bad input; 130: interrupted."""
    gc.set_threshold(_OBJECTS)
    try:
        app()
    except ValueError as error:
        if "gramtune.space.issues" not in sys.modules or not _is_bad_input(error):
            raise
        print(error, file=sys.stderr)
        sys.exit(2)


def _leave(code: int) -> None:
    """Ends the process as Python would, but without taking the million objects apart first, which takes seconds.

    mypy does so too. Returns where that is not all that is left to do.
    """
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        return
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):  # nobody reads any more: Python has an exit code for that
        return
    os._exit(code)


def _is_bad_input(error: ValueError) -> bool:
    from gramtune.errors import SpecError

    return isinstance(error, SpecError)


if __name__ == "__main__":
    script()
