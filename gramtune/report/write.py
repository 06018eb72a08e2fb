"""Everything that a sweep's folder says of its results, written anew from the state."""

from __future__ import annotations

from pathlib import Path

from gramtune.paths import write_atomically
from gramtune.report.figures import FOLDER, write_figures
from gramtune.report.page import FILE, page
from gramtune.report.tables import summary_text
from gramtune.sweep.importance import Importances
from gramtune.sweep.results import write_tables
from gramtune.sweep.state import SweepState

SUMMARY = "summary.txt"


def write_report(state: SweepState, folder: Path, importances: Importances) -> str:
    """Writes tables, figures, summary and page, each atomically; returns a line that says what is where.

    Raises DiskFull where there is no space.
    """
    write_tables(state, folder)
    failed: list[str] = []
    figures = write_figures(state, folder, failed)
    _write_text(folder / SUMMARY, summary_text(state))
    _write_text(folder / FILE, page(state, folder, figures, importances))
    return f"{folder}/: {FILE}, results.parquet, results.csv, {FOLDER}/, {SUMMARY}" + "".join(
        f"\n{line}" for line in failed
    )


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
