"""`clean` deletes only checkpoints; the `--on-end` command runs when a sweep ends or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweeps import SPACE, write_space

from gramtune import api, load_sweep, resume_sweep, run_sweep
from gramtune.cli.execute import execute
from gramtune.errors import Issue, SpecError
from gramtune.record.layout import checkpoints
from gramtune.run.clean import clean
from gramtune.run.lock import driving
from gramtune.run.on_end import on_end

QUIET: dict[str, Any] = {"debug": True, "say": lambda line: None}


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> api.Result:
    """Two trials, of which one is the best."""
    monkeypatch.setattr(api, "rewrite", lambda *_: "")  # figures take longer than the trials
    path = write_space(tmp_path, SPACE.replace("[1, 4, 16]", "[1, 4]"))
    return run_sweep(load_sweep(path), tmp_path / "runs", **QUIET)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_but_the_best_trial_lose_their_checkpoints_and_nothing_else(finished: api.Result) -> None:
    assert finished.state.best is not None
    best = finished.state.best.trial.name
    before = content(finished.folder)
    (other,) = set(finished.state.records) - {best}
    gone = {name for name in before if name.startswith(f"trials/{other}/checkpoint-")}
    assert gone
    for dry_run in (True, False):
        done = clean(finished.state, finished.folder, dry_run=dry_run)
        assert (done.files, done.size, done.trials) == (len(gone), sum(len(before[name]) for name in gone), 1)
        assert done.kept == (best,)
        lost = before.keys() - content(finished.folder).keys()
        assert lost == (set() if dry_run else gone)
    assert clean(finished.state, finished.folder).files == 0
    assert clean(finished.state, finished.folder, everything=True).trials == 1
    assert not list(finished.folder.rglob("*.pt"))
    assert (finished.folder / "journal.jsonl").read_bytes() == before["journal.jsonl"]


def test_a_cleaned_sweep_still_goes_on_and_has_the_same_numbers(finished: api.Result) -> None:
    clean(finished.state, finished.folder, everything=True)
    grown = resume_sweep(finished.folder, settings=["training.steps=9"], **QUIET)
    assert grown.complete
    early = grown.frame[grown.frame["step"] <= 6].reset_index(drop=True)
    assert early.equals(finished.frame)


def test_an_unfinished_trial_keeps_what_it_continues_from(finished: api.Result) -> None:
    (name, record), *_ = finished.state.records.items()
    record.reopen()
    clean(finished.state, finished.folder)
    assert checkpoints(finished.folder / "trials" / name)


def test_a_running_sweep_is_not_cleaned(finished: api.Result) -> None:
    command = [sys.executable, "-m", "gramtune", "clean", str(finished.folder)]
    with driving(finished.folder):
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "is running this sweep" in refused.stderr
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "checkpoints of 1 trial deleted; kept: critic_dim=" in done.stdout


# The end


SHOWN = 'echo "$GRAMTUNE_STATUS $GRAMTUNE_NAME $GRAMTUNE_FOLDER" > "{file}"'


def test_the_end_command_gets_the_status(tmp_path: Path, finished: api.Result) -> None:
    file = tmp_path / "heard"

    def refusing(**_: object) -> api.Result:
        raise SpecError([Issue("x", "y")])

    def dying(**_: object) -> api.Result:
        raise RuntimeError("a bug")

    starts = [
        (lambda **_: finished, "COMPLETED"),
        (lambda **_: replace(finished, complete=False), "INTERRUPTED"),
        (lambda **_: replace(finished, problem="disk full"), "FAILED"),
        (refusing, "REFUSED"),
        (dying, "FAILED"),
    ]
    for start, status in starts:
        file.unlink(missing_ok=True)
        try:
            execute(start, finished.folder, SHOWN.format(file=file))
        except (SpecError, RuntimeError):
            assert status in ("REFUSED", "FAILED")
        assert file.read_text() == f"{status} axis {finished.folder.absolute()}\n"


def test_the_end_command_runs_after_a_kill(tmp_path: Path) -> None:
    """Nothing of the killed process can run any more; the command does."""
    file = tmp_path / "heard"
    code = (
        "import time; from pathlib import Path; from gramtune.run.on_end import on_end\n"
        f"with on_end({SHOWN.format(file=file)!r}, Path({str(tmp_path / 'axis')!r})):\n"
        "    print('runs', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "runs\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert file.read_text() == f"DIED axis {tmp_path / 'axis'}\n"


def test_without_a_command_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(subprocess, "Popen")
    with on_end(None, tmp_path) as ending:
        ending.status = "COMPLETED"
