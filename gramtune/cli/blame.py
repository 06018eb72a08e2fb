"""Which source gave a bad value: an option, an environment variable, or a default. A message names that source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer import Context

    from gramtune.errors import SpecError


class Refused(Exception):
    """What the parser of an option found wrong: a SpecError inside an error that is no ValueError."""

    def __init__(self, issues: SpecError) -> None:
        super().__init__(str(issues))
        self.issues = issues


class BlamingCommand(TyperCommand):
    """A command whose issues blame no option that nobody gave."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click's; a parser of an option may find an issue."""
        with _blaming(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """As click's."""
        with _blaming(ctx):
            return super().invoke(ctx)


@contextmanager
def _blaming(context: Context) -> Iterator[None]:
    """Puts the source of each value into the issues that leave the block."""
    try:
        try:
            yield
        except Refused as refused:
            raise refused.issues from None
    except ValueError as error:
        from gramtune.errors import SpecError

        if not isinstance(error, SpecError):
            raise
        raise SpecError([issue._replace(where=source(context, issue.where)) for issue in error.issues]) from None


def source(context: Context, where: str) -> str:
    """`where` if it is a file or an option that was given; else the variable or the default that has the value."""
    option, _, rest = where.partition(" ")
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "")
        if option not in parameter.opts or given is None:
            continue
        if given.name == "ENVIRONMENT":
            variable = parameter.envvar if isinstance(parameter.envvar, str) else option
            return f"{variable} {rest}".rstrip()
        if given.name != "COMMANDLINE":
            return f"default of {where}"
    return where
