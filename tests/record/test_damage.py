"""Damaged, missing or unwritable files: a message with file, line and remedy, never a traceback."""

import json
import shutil

import pandas as pd
import pytest
from sweeps import SPACE, write_space

from gramtune.api import resume_sweep, run_sweep
from gramtune.cli import main as command_line
from gramtune.errors import SpecError
from gramtune.record.journal import load_state
from gramtune.run.run_directory import recorded_state

SEARCHED = SPACE.replace("grid: [1, 4, 16]", "int: [1, 8]") + "search: {name: random, samples: 2}\n"
GARBAGE = {
    "NUL": b"\0" * 64,
    "no JSON": b'{"trial": ',
    "not UTF-8": b"\xff\xfe\xfa",
    "another kind": b"[1, 2]",
    "a number": b"7",
    "empty": b"",
    "of no trial": b'{"trial": "nobody", "status": "FAILED", "reason": ""}',
    "without a status": b'{"trial": "critic_dim=1"}',
    "of no kind": b'{"a": 1}',
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, migrated):
    """A finished sweep that samples, with everything that a folder can hold."""
    folder = tmp_path_factory.mktemp("finished")
    runs = folder / "runs"
    (runs / ".mlflow").mkdir(parents=True)
    shutil.copy(migrated, runs / ".mlflow")
    write_space(folder, SEARCHED)
    run_sweep(folder / "axis.yaml", runs, debug=True, say=lambda line: None)
    return runs


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "runs")
    return tmp_path / "runs" / "axis"


def run(*words, capsys, monkeypatch):
    """Exit code, standard output and errors of a command, in this process."""
    monkeypatch.setattr("sys.argv", ["gramtune", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_a_damaged_line_of_the_journal_has_a_place_and_a_remedy(garbage, folder, capsys, monkeypatch):
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([*lines[:3], garbage, *lines[3:]]))
    for command in ("report", "resume", "export"):
        options = ["--debug"] if command == "resume" else []
        code, _, err = run(command, folder, *options, capsys=capsys, monkeypatch=monkeypatch)
        assert code == 2, err
        assert err.startswith(f"{journal}:4: ")
        assert "delete that line and resume" in err
        assert err.count("\n") == 1
    journal.write_bytes(b"\n".join(lines))
    assert run("report", folder, capsys=capsys, monkeypatch=monkeypatch)[0] == 0


def test_the_remedy_for_a_lost_line_brings_its_trial_back(folder, finished):
    """Any line of a trial deleted: the trial continues from its checkpoint."""
    journal = folder / "journal.jsonl"
    events = [line for line in journal.read_text().splitlines() if json.loads(line).get("status") != "COMPLETED"]
    assert len(events) < len(journal.read_text().splitlines())
    journal.write_text("\n".join(events) + "\n")
    result = resume_sweep(folder, debug=True, say=lambda line: None)
    assert result.complete
    before = pd.read_parquet(finished / "axis" / "trials.parquet")
    pd.testing.assert_frame_equal(result.trials[["trial", "status", "mean"]], before[["trial", "status", "mean"]])


@pytest.mark.parametrize("garbage", [b"\0" * 64 + b"\n", b"garbage\n", b"\xff\xfe\n", b'{"op_code": 99}\n', b"[]\n"])
def test_a_damaged_study_is_rebuilt(garbage, folder):
    study = folder / "study.journal"
    lines = study.read_bytes().splitlines(keepends=True)
    study.write_bytes(b"".join([*lines[:2], garbage, *lines[2:]]))
    result = resume_sweep(folder, samples=3, debug=True, say=lambda line: None)
    assert result.complete
    assert len(result.trials) == 3
    assert garbage not in study.read_bytes() or garbage == b"[]\n"


@pytest.mark.parametrize("garbage", [b"\0" * 64, b'{"a":\n1,,}', b"\xff", b"[]"])
def test_damaged_versions_are_said_by_resume_and_are_no_obstacle_to_a_report(garbage, folder, capsys, monkeypatch):
    file = folder / "versions.json"
    file.write_bytes(garbage)
    code, out, err = run("resume", folder, "--debug", "--replicates", 3, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 2
    assert f"{file}:" in err
    assert "delete the file" in err
    assert "Traceback" not in out + err
    code, out, err = run("report", folder, capsys=capsys, monkeypatch=monkeypatch)
    assert (code, err) == (0, "")
    assert "report.html" in out
    file.unlink()
    assert resume_sweep(folder, replicates=3, debug=True, say=lambda line: None).complete


OWN = ("sweep.yaml", "versions.json", "journal.jsonl", "study.journal", "sweep_id", ".driver", "results.parquet")
COMMANDS = (
    ("report",),
    ("resume", "--debug", "--samples", "3"),
    ("sync",),
    ("export", "--output", "out.csv"),
    ("evaluate", "--samples", "50"),
    ("sample", "--out", "out.png"),
    ("replay",),
)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("kind", ["garbage", "folder", "gone"])
def test_no_command_shows_a_traceback_or_fails_unexpectedly(name, kind, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    (folder / name).unlink(missing_ok=True)
    if kind == "garbage":
        (folder / name).write_bytes(b"\0\xff garbage: [\n" * 3)
    elif kind == "folder":
        (folder / name).mkdir()
    for command, *options in COMMANDS:
        code, out, err = run(command, folder, *options, capsys=capsys, monkeypatch=monkeypatch)
        assert "Traceback" not in out + err
        assert "gramtune failed" not in err, (command, err)
        assert code in (0, 1, 2)
        assert code == 0 or err or "cannot be" in out, (command, out)


def test_damaged_checkpoints_and_stores_are_one_line(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    found = list(folder.rglob("checkpoint-*.pt"))
    assert found
    for path in [*found, folder.parent / ".mlflow" / "mlflow.db"]:
        path.write_bytes(b"\0garbage" * 100)
    for command, *options in (*COMMANDS, ("ui",)):
        words = [command, "--runs", folder.parent] if command == "ui" else [command, folder, *options]
        code, out, err = run(*words, capsys=capsys, monkeypatch=monkeypatch)
        assert "Traceback" not in out + err
        assert "gramtune failed" not in err, (command, err)
        assert code == 0 or err or "nothing is lost" in out, (command, out)


@pytest.fixture
def imported(folder, capsys, monkeypatch):
    """Everything that the commands import is here: another user may not be able to read the interpreter's library."""
    monkeypatch.chdir(folder.parent.parent)
    write_space(folder.parent.parent)
    for command, *options in (("train", "base/tiny.yaml"), ("sweep", "axis.yaml", "--debug", "--name", "other")):
        assert run(command, *options, capsys=capsys, monkeypatch=monkeypatch)[0] == 0


def test_an_unwritable_file_is_one_line(imported, unprivileged, capsys, monkeypatch):
    write_space(unprivileged)
    monkeypatch.chdir(unprivileged)
    (unprivileged / "locked").mkdir(mode=0o500)
    (unprivileged / "file").write_text("no folder")
    for runs in ("locked", "file", "locked/deeper"):
        for command, *rest in (("train", "base/tiny.yaml"), ("sweep", "axis.yaml", "--debug")):
            code, out, err = run(command, *rest, "--runs", runs, capsys=capsys, monkeypatch=monkeypatch)
            assert code in (1, 2), (out, err)
            assert err.count("\n") == 1, err
            assert runs.partition("/")[0] in err
            assert "gramtune failed" not in err


def test_an_internal_error_is_one_line_that_names_its_traceback_file(capsys, monkeypatch):
    def fails(prog_name):
        raise RuntimeError("unexpected\nby all")

    monkeypatch.setattr(command_line, "app", fails)
    code, _, err = run("report", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 1
    assert err.startswith("gramtune failed: RuntimeError: unexpected; traceback: ")
    place = err.rpartition(": ")[2].strip()
    with open(place) as file:
        assert "in fails" in file.read()


def test_time_is_counted_by_a_clock_that_neither_sleeps_nor_jumps(folder, monkeypatch):
    """A laptop that slept for a day between two reports, a clock that was set: the time of day told 86,400 s."""
    state = recorded_state(folder)
    assert 0 < state.elapsed < 600
    journal = folder / "journal.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    for number, event in enumerate(events):
        event["time"] += 86_400 * number
    journal.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert load_state(folder, state.plan).elapsed == state.elapsed
    assert resume_sweep(folder, time_budget=state.elapsed + 600, samples=3, debug=True, say=lambda line: None).complete
    after = recorded_state(folder).elapsed
    assert state.elapsed < after < state.elapsed + 600


def test_an_unreadable_journal_is_reported(folder, monkeypatch):
    (folder / "journal.jsonl").unlink()
    (folder / "journal.jsonl").mkdir()
    with pytest.raises(SpecError, match="cannot be read"):
        recorded_state(folder)
