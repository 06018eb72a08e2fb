"""The progress bar and the lines of `gramtune train`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gramtune.cli.text import spread
from gramtune.record.report import Status, summarise
from gramtune.run.trial_runner import TrialRun
from gramtune.training.config import TrialConfig


def run_with_progress(run: TrialRun, config: TrialConfig, folder: Path, console: Console) -> int:
    """Trains the trial to its end; returns the exit code: 0, or 130 after Ctrl-C."""
    columns = (TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    status = Status.RUNNING

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("train", total=config.training.steps)
        try:
            while not status.final:
                report = run.step()
                status = report.status
                progress.update(bar, completed=report.step)
                values = ", ".join(f"{key} {spread(summarise(v))}" for key, v in report.metrics.items())
                say(f"step {report.step}/{config.training.steps}  {values}  {report.seconds:.0f} s")
        except KeyboardInterrupt:
            say(f"interrupted; the same command resumes from the newest checkpoint in {folder}")
            return 130
    say(f"{status} {report.reason}".strip() + f"; checkpoint and samples in {folder}")
    return 0
