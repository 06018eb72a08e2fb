"""`gramtune export`: writes the results of a sweep to one file for other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gramtune.cli.options import Folder, user_path


class Format(StrEnum):
    """File formats."""

    PARQUET = "parquet"
    CSV = "csv"
    LATEX = "latex"


_SUFFIXES = {Format.PARQUET: "parquet", Format.CSV: "csv", Format.LATEX: "tex"}


def export(
    folder: Folder,
    format: Annotated[
        Format, typer.Option(help="parquet, csv: one row per value; latex: mean ± std per configuration (booktabs).")
    ] = Format.CSV,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", parser=user_path, metavar="PATH", help="File to write [default: <sweep>.<suffix> here]."
        ),
    ] = None,
) -> None:
    """Write the results of a finished, interrupted or running sweep as Parquet, CSV or a LaTeX table."""
    from gramtune.io import write_atomically
    from gramtune.record.tables import csv_writer, parquet_writer, results_frame
    from gramtune.report.text.latex import latex_table
    from gramtune.run.run_directory import recorded_state

    state = recorded_state(folder)
    target = output or Path(f"{state.plan.sweep.name}.{_SUFFIXES[format]}")
    try:
        if format is Format.LATEX:
            text = latex_table(state)
            write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))
        else:
            writer = parquet_writer if format is Format.PARQUET else csv_writer
            write_atomically(target, writer(results_frame(state)))
    except OSError as error:
        typer.echo(f"{target} cannot be written: {error.strerror or error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(str(target))
