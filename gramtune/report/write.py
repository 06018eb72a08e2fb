"""Writes all result files of a sweep's folder from the state: tables, summary, figures, page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gramtune.analysis.importance import Importances
from gramtune.analysis.trial_table import trial_table
from gramtune.io import each, write_atomically
from gramtune.record.state import SweepState
from gramtune.record.tables import write_tables
from gramtune.report import FIGURES, PAGE, SUMMARY
from gramtune.report.text.summary import summary_text


def write_report(
    state: SweepState, folder: Path, importances: Callable[[SweepState], Importances], refresh: int | None = None
) -> str:
    """Writes tables, summary, figures and page, each atomically; returns a line that lists the files.

    `refresh`: seconds after which a browser reloads the page. If a figure, the summary, the importances or the page
    fails, the text gets a further line and the rest is still written. Raises OSError if the tables cannot be written,
    DiskFull if the disk is full.
    """
    write_tables(state, folder, trial_table(state))
    failed: list[str] = []
    written = ["results.parquet", "results.csv"]
    with each(SUMMARY, failed.append):
        _write_text(folder / SUMMARY, summary_text(state))
        written.append(SUMMARY)
    figures: list[Path] = []
    with each(f"{FIGURES}/", failed.append):
        from gramtune.report.figures.catalogue import write_figures

        figures = write_figures(state, folder, failed)
        written.append(f"{FIGURES}/")
    shares = Importances(why="their computation failed")
    with each("importances", failed.append):
        shares = importances(state)
    with each(PAGE, failed.append):
        from gramtune.report.page.page import page

        _write_text(folder / PAGE, page(state, folder, figures, shares, refresh))
        written.insert(0, PAGE)
    return "\n".join([f"{folder}/: {', '.join(written)}", *failed])


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
