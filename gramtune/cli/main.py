"""`gramtune`: collects the commands; prints issues as lines and sets exit codes."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import tempfile
import threading
import traceback
from typing import Annotated, ClassVar

import typer

from gramtune.cli.catalogue import describe, list_, schema
from gramtune.cli.clean import clean
from gramtune.cli.cluster import attach, down, stop
from gramtune.cli.command import Command, Group
from gramtune.cli.doctor import doctor
from gramtune.cli.enqueue import enqueue
from gramtune.cli.evaluate import evaluate
from gramtune.cli.export import export
from gramtune.cli.init import init
from gramtune.cli.launch import LaunchCommand, launch
from gramtune.cli.replay import replay
from gramtune.cli.report import report
from gramtune.cli.resume import resume
from gramtune.cli.sample import sample
from gramtune.cli.show import diff, show
from gramtune.cli.status import status
from gramtune.cli.streams import harden
from gramtune.cli.sweep import sweep
from gramtune.cli.sync import sync
from gramtune.cli.train import train
from gramtune.cli.ui import ui
from gramtune.cli.validate import validate
from gramtune.io import ensure_home

_OBJECTS = 100_000
"""New objects after which Python's garbage collector runs. Importing torch, Ray and MLflow creates a million lasting
objects; with Python's default of 700 a fifth of the import time goes into scanning them."""

_SECTIONS = {
    "Write a sweep": (init, validate, show, list_, describe, schema),
    "Run": (sweep, resume, enqueue, train),
    "Look at results": (status, report, export, diff, ui, sync, clean),
    "Use trained generators": (sample, evaluate, replay),
    "Clusters": (launch, attach, stop, down, doctor),
}


class _Commands(Group):
    sections: ClassVar = {
        heading: [command.__name__.rstrip("_") for command in commands] for heading, commands in _SECTIONS.items()
    }


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich would read "[default: all]" as markup and drop it
)
for _command in (command for commands in _SECTIONS.values() for command in commands if command is not launch):
    app.command(_command.__name__.rstrip("_"), cls=Command)(_command)
app.command(cls=LaunchCommand, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(launch)


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
    """Entry point of the command: runs `main`, then ends the process quickly (`_leave`)."""
    harden()
    ensure_home()
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, int):
            _leave(end.code)
        raise


def main() -> None:
    """Runs a command. Exit code 0: success; 1: a trial failed, or all diverged; 2: bad input; 130: interrupted.

    Raises only the exception of a trial that `--debug` lets through.
    """
    gc.set_threshold(_OBJECTS)
    try:
        app(prog_name="gramtune")
    except Exception as error:
        if _is_of_a_trial(error):
            raise
        print(_in_words(error), file=sys.stderr)
        sys.exit(2 if _is_bad_input(error) else 1)


def _leave(code: int) -> None:
    """Ends the process without freeing its million objects first, which takes Python seconds. mypy does the same.

    Returns, for Python's normal exit, if a thread still runs or a stream cannot be flushed.
    """
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        return
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):  # the reader has closed the stream: Python's normal exit sets the exit code
        return
    os._exit(code)


def _is_bad_input(error: Exception) -> bool:
    from gramtune.errors import SpecError

    return isinstance(error, SpecError)


def _is_of_a_trial(error: Exception) -> bool:
    """Whether the error was raised while a trial was trained in this process."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == "gramtune.run.guarded_trial" for frame in frames)


def _in_words(error: Exception) -> str:
    """The message for an error: issues unchanged, system errors in one line, anything else with its traceback file."""
    from gramtune.io import DiskFull

    if _is_bad_input(error) or isinstance(error, DiskFull):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror or error}"
    first = next(iter(str(error).splitlines()), "")
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="gramtune-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            traceback.print_exception(error, file=file)
        place = f"; traceback: {file.name}"
    except OSError:
        place = ""
    return f"gramtune failed: {type(error).__name__}: {first}{place}"


if __name__ == "__main__":
    script()
