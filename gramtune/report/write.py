"""Everything that a sweep's folder says of its results, written anew from the state."""

from __future__ import annotations

from pathlib import Path

from gramtune.paths import write_atomically
from gramtune.report.figures import FOLDER, write_figures
from gramtune.report.tables import summary_text
from gramtune.sweep.results import write_tables
from gramtune.sweep.state import SweepState

SUMMARY = "summary.txt"


def write_report(state: SweepState, folder: Path) -> str:
    """Writes tables, figures and summary, each atomically; returns a line that says what is where.

    Raises DiskFull where there is no space.
    """
    write_tables(state, folder)
    write_figures(state, folder)
    text = summary_text(state)
    write_atomically(folder / SUMMARY, lambda path: path.write_text(text, encoding="utf-8"))
    return f"{folder}/: results.parquet, results.csv, {FOLDER}/, {SUMMARY}"
