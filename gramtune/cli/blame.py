"""Finds which source gave a bad value: an option, an environment variable, or a default. Messages name that source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from typer import Context

    from gramtune.errors import SpecError


class RefusedOption(Exception):
    """Carries a SpecError out of an option's parser; not a ValueError, because click would catch that."""

    def __init__(self, issues: SpecError) -> None:
        super().__init__(str(issues))
        self.issues = issues


class BlamingCommand(TyperCommand):
    """A command whose issues name an option only if the user gave it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses as click does; the parser of an option may raise a SpecError."""
        with _blaming(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command as click does."""
        with _blaming(ctx):
            return super().invoke(ctx)


@contextmanager
def _blaming(context: Context) -> Iterator[None]:
    """Rewrites `where` of every issue raised in the block to the source of the bad value."""
    try:
        try:
            yield
        except RefusedOption as refused:
            raise refused.issues from None
    except ValueError as error:
        from gramtune.errors import SpecError

        if not isinstance(error, SpecError):
            raise
        raise SpecError([replace(issue, where=source(context, issue.where)) for issue in error.issues]) from None


def source(context: Context, where: str) -> str:
    """If `where` names an option that was not typed, replaces it with the environment variable or `default of …`.

    Any other place stays as it is.
    """
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
