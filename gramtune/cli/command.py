"""How commands show themselves: usage lines in one form, commands in groups, examples, and `--verbose` everywhere."""

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from gramtune.cli.blame import BlamingCommand

EXAMPLES: Mapping[str, Sequence[tuple[str, str]]] = {
    "": (
        ("gramtune sweep critic_dim", "a shipped sweep, here"),
        ("gramtune init mine", "a commented space file to begin with"),
        ("gramtune validate mine.yaml", "everything that is wrong with it"),
        ("gramtune resume runs/mine", "after Ctrl-C, a crash or a power loss"),
    ),
    "init": (
        ("gramtune init mine", "mine.yaml on scikit-learn's digits"),
        ("gramtune init toy --base ring", "on points"),
    ),
    "validate": (("gramtune validate critic_dim --base cifar10", "a shipped space on another base"),),
    "show": (
        ("gramtune show critic_dim", "the trials of a grid, numbered"),
        ("gramtune show critic_dim --trial 3", "everything that trial 3 is trained with"),
        ("gramtune show runs/joint --trial 12", "the same of a sweep that has begun"),
    ),
    "list": (("gramtune list", "names of every kind"), ("gramtune list objectives", "one kind, a line for each")),
    "describe": (("gramtune describe objective gram", "fields, defaults, source"),),
    "schema": (("gramtune schema --plugin my_gan.py -o space.json", "your own component's fields too"),),
    "sweep": (
        ("gramtune sweep critic_dim", "a shipped space"),
        ("gramtune sweep critic_dim --dry-run", "the plan and an estimate of time; starts nothing"),
        ("gramtune sweep mine.yaml --replicates 10 --set training.steps=3000", "what the file says, changed"),
        ("gramtune sweep mine.yaml --address auto", "on a Ray that runs already"),
    ),
    "resume": (
        ("gramtune resume runs/critic-dim", "what was interrupted"),
        ("gramtune resume runs/critic-dim --replicates 10", "more seeds for a finished sweep"),
    ),
    "train": (("gramtune train digits --set objective.critic_dim=64", "a shipped base, changed"),),
    "status": (
        ("gramtune status", "every sweep in runs/"),
        ("gramtune status runs/joint", "one of them, trial by trial"),
    ),
    "diff": (("gramtune diff runs/a runs/b", "settings and versions that differ"),),
    "report": (
        ("gramtune report runs/critic-dim", "page, tables, figures"),
        ("gramtune report runs/a runs/b", "compared"),
        ("gramtune report runs/critic-dim --follow", "of a running sweep, until it ends"),
    ),
    "export": (("gramtune export runs/critic-dim --format latex", "a table for a paper"),),
    "sample": (("gramtune sample runs/critic-dim -n 100 --out digits.png", "of the best trial"),),
    "evaluate": (("gramtune evaluate runs/critic-dim --metrics kid_digits", "another metric of the best trial"),),
    "replay": (("gramtune replay runs/critic-dim --pruner asha", "what pruning would have saved and lost"),),
    "ui": (("gramtune ui", "the sweeps in runs/ here or above"),),
    "launch": (("gramtune launch cluster/aws.yaml critic_dim --replicates 5", "options as for sweep"),),
}
"""Of each command, and of all of them: the command line and what it does."""


def _log(wanted: bool) -> None:
    """Sends the diagnostics of gramtune to the error stream."""
    if not wanted:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("gramtune")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG)


def _verbose() -> Any:
    """The option of a command that has nothing else: typer makes options from signatures alone."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def command(
        verbose: Annotated[
            bool,
            typer.Option("--verbose", "-v", callback=_log, help="Print what is done and where, on the error stream."),
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
        """`[OPTIONS] SPACE`; brackets around what may be left out, dots after what may be repeated."""
        return usage(self.params)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Its examples."""
        write_examples(formatter, str(self.name))


class Group(TyperGroup):
    """All commands, in groups, with examples."""

    sections: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Heading → names of commands."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """One list per group, of equal width."""
        width = max(map(len, self.commands))
        for heading, names in self.sections.items():
            with formatter.section(heading):
                rows = [(f"{name:<{width}}", self._first_sentence(name)) for name in names]
                formatter.write_dl(rows)

    def _first_sentence(self, name: str) -> str:
        command = self.commands[name]
        return (command.help or "").splitlines()[0]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples of the commands that come first."""
        write_examples(formatter, "")


def usage(parameters: Sequence[Any]) -> list[str]:
    """`[OPTIONS] SPACE [JOB] FOLDER...`."""
    pieces = ["[OPTIONS]"]
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            name = (parameter.metavar or parameter.name).upper().rstrip(".") + ("..." if parameter.nargs != 1 else "")
            pieces.append(name if parameter.required else f"[{name}]")
    return pieces


def write_examples(formatter: Any, name: str) -> None:
    """The examples of a command, if it has any."""
    if name in EXAMPLES:
        with formatter.section("Examples"):
            for line, meaning in EXAMPLES[name]:
                formatter.write(f"  {line}\n      {meaning}\n")
