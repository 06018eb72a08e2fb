"""Everything that a sweep's folder says of its results, written anew from the state."""

from __future__ import annotations

from pathlib import Path

from gramtune.analysis.importance import Importances
from gramtune.io import write_atomically
from gramtune.record.state import SweepState
from gramtune.record.tables import write_tables
from gramtune.report.figures.catalogue import FOLDER, write_figures
from gramtune.report.page.page import PAGE_FILE, page
from gramtune.report.text.summary import summary_text

SUMMARY = "summary.txt"


def write_report(state: SweepState, folder: Path, importances: Importances) -> str:
    """Writes tables, figures, summary and page, each atomically; returns a line that says what is where.

    Raises DiskFull where there is no space.
    """
    write_tables(state, folder)
    failed: list[str] = []
    figures = write_figures(state, folder, failed)
    _write_text(folder / SUMMARY, summary_text(state))
    _write_text(folder / PAGE_FILE, page(state, folder, figures, importances))
    return f"{folder}/: {PAGE_FILE}, results.parquet, results.csv, {FOLDER}/, {SUMMARY}" + "".join(
        f"\n{line}" for line in failed
    )


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
