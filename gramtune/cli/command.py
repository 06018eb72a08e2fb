"""The help pages of the commands: usage lines, groups, examples; and the option `--verbose` of every command."""

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from gramtune.cli.blame import BlamingCommand

EXAMPLES: Mapping[str, Sequence[tuple[str, str]]] = {
    "": (
        ("gramtune sweep critic_dim", "run a shipped sweep on this machine"),
        ("gramtune init mine", "write a commented space file to start from"),
        ("gramtune validate mine.yaml", "list every issue in it"),
        ("gramtune resume runs/mine", "resume after Ctrl-C, a crash or a power loss"),
    ),
    "init": (
        ("gramtune init mine", "write mine.yaml, with scikit-learn's digits as data"),
        ("gramtune init toy --base ring", "the same with points in the plane as data"),
    ),
    "validate": (("gramtune validate critic_dim --base cifar10", "check a shipped space with another base"),),
    "show": (
        ("gramtune show critic_dim", "list the trials of a grid with their numbers"),
        ("gramtune show critic_dim --trial 3", "print the complete configuration of trial 3"),
        ("gramtune show runs/joint --trial 12", "the same for a sweep that has started"),
    ),
    "list": (("gramtune list", "names of every kind"), ("gramtune list objectives", "one kind, one line per name")),
    "describe": (("gramtune describe objective gram", "its fields, defaults and source file"),),
    "schema": (("gramtune schema --plugin my_gan.py -o space.json", "with the fields of your own component"),),
    "sweep": (
        ("gramtune sweep critic_dim", "run a shipped space"),
        ("gramtune sweep critic_dim --dry-run", "print the plan and a time estimate; start nothing"),
        ("gramtune sweep mine.yaml --replicates 10 --set training.steps=3000", "run the file with changed settings"),
        ("gramtune sweep mine.yaml --address auto", "run on a Ray cluster that is already running"),
    ),
    "resume": (
        ("gramtune resume runs/critic-dim", "resume an interrupted sweep"),
        ("gramtune resume runs/critic-dim --replicates 10", "add seeds to a finished sweep"),
    ),
    "train": (("gramtune train digits --set objective.critic_dim=64", "train a shipped base with a changed setting"),),
    "status": (
        ("gramtune status", "every sweep in runs/"),
        ("gramtune status runs/joint", "the trials of one sweep"),
    ),
    "diff": (("gramtune diff runs/a runs/b", "list the settings and versions that differ"),),
    "report": (
        ("gramtune report runs/critic-dim", "rebuild page, tables and figures"),
        ("gramtune report runs/a runs/b", "compare two sweeps"),
        ("gramtune report runs/critic-dim --follow", "of a running sweep, until it ends"),
    ),
    "export": (("gramtune export runs/critic-dim --format latex", "write a table for a paper"),),
    "sample": (("gramtune sample runs/critic-dim -n 100 --out digits.png", "draw samples of the best trial"),),
    "evaluate": (("gramtune evaluate runs/critic-dim --metrics kid_digits", "another metric of the best trial"),),
    "replay": (("gramtune replay runs/critic-dim --pruner asha", "what this pruner would have saved and lost"),),
    "ui": (("gramtune ui", "the sweeps in runs/ of this folder or of a parent folder"),),
    "launch": (("gramtune launch cluster/aws.yaml critic_dim --replicates 5", "takes the options of sweep"),),
}
"""Examples by command name ("": for all commands): the command line and what it does."""


def _log(wanted: bool) -> None:
    """Prints gramtune's diagnostics on the error stream."""
    if not wanted:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("gramtune")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG)


def _verbose() -> Any:
    """The option `--verbose`, taken from an otherwise empty command: typer makes options only from signatures."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def command(
        verbose: Annotated[
            bool,
            typer.Option("--verbose", "-v", callback=_log, help="Print diagnostics on the error stream."),
        ] = False,
    ) -> None: ...

    (option,) = typer.main.get_command(app).params
    option.expose_value = False
    return option


class Command(BlamingCommand):
    """A command with examples and `--verbose`."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **{**settings, "params": [*(settings.get("params") or ()), _verbose()]})

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS] SPACE`, with brackets around optional arguments and dots after repeatable ones."""
        return usage(self.params)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Adds the examples of the command to its help page."""
        write_examples(formatter, str(self.name))


class Group(TyperGroup):
    """All commands, in groups, with examples."""

    sections: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Heading → names of commands."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes one list per group; all lists have the same width."""
        width = max(map(len, self.commands))
        for heading, names in self.sections.items():
            with formatter.section(heading):
                rows = [(f"{name:<{width}}", self._first_sentence(name)) for name in names]
                formatter.write_dl(rows)

    def _first_sentence(self, name: str) -> str:
        command = self.commands[name]
        return (command.help or "").splitlines()[0]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Adds examples of the most important commands."""
        write_examples(formatter, "")


def usage(parameters: Sequence[Any]) -> list[str]:
    """The pieces of a usage line such as `[OPTIONS] SPACE [JOB] FOLDER...`."""
    pieces = ["[OPTIONS]"]
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            name = (parameter.metavar or parameter.name).upper().rstrip(".") + ("..." if parameter.nargs != 1 else "")
            pieces.append(name if parameter.required else f"[{name}]")
    return pieces


def write_examples(formatter: Any, name: str) -> None:
    """Writes the examples of a command, if it has any."""
    if name in EXAMPLES:
        with formatter.section("Examples"):
            for line, meaning in EXAMPLES[name]:
                formatter.write(f"  {line}\n      {meaning}\n")
