"""The commands as the user runs them."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from states import sweep_state
from sweeps import BASE, SPACE, write_space

from gramtune.cli.execute import execute
from gramtune.record.report import Status
from gramtune.result import Result

HEAVY = {"torch", "ray", "mlflow", "optuna", "pandas", "numpy", "matplotlib", "sklearn", "torchvision"}
COMMAND = [sys.executable, "-m", "gramtune.cli.main"]


def in_a_process(*arguments, cwd):
    """Runs a command to its end, as a user does."""
    return subprocess.run([*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300)


def results(runs, name="axis"):
    frame = pd.read_parquet(runs / name / "results.parquet")
    return frame.sort_values(["trial", "replicate", "step", "metric"], ignore_index=True)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from gramtune.cli.main import main\nsys.argv = ['gramtune', '--help']\n"
        "try: main()\nexcept SystemExit: pass\nprint('MODULES', *sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "sweep" in output
    loaded = set(output.split("MODULES")[1].split())
    assert "typer" in loaded
    assert not HEAVY & loaded


def test_every_option_shows_its_whole_help_text():
    """Rich's markup once ate all text in square brackets: `Trials at once .`"""
    from typer.main import get_command
    from typer.testing import CliRunner

    from gramtune.cli.main import app

    bracketed = 0
    for name, command in get_command(app).commands.items():
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "100", "TERM": "dumb"})
        text = "".join(shown.output.split())  # wrapped at any place
        for parameter in command.params:
            told = getattr(parameter, "help", None) or ""
            bracketed += "[" in told
            assert "".join(told.split()) in text, (name, parameter.name)
    assert bracketed >= 5


def test_the_version_and_the_package_as_a_command():
    import gramtune as package

    for command in (COMMAND, [sys.executable, "-m", "gramtune"]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, f"gramtune {package.__version__}\n")


ENDING = """
import atexit, sys, threading
from gramtune.cli import main
class Kept:
    def __del__(self): print("taken apart")
main.kept, sys.argv = Kept(), ["gramtune", "validate", "nowhere.yaml"]
atexit.register(print, "atexit")
threading.Thread(target=lambda: (threading.main_thread().join(), print("worked")), daemon=DAEMON).start()
main.script()
"""


def test_a_command_ends_quickly_but_runs_its_exit_handlers():
    def ended(daemon):
        code = ENDING.replace("DAEMON", str(daemon))
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    quick, slow = ended(True), ended(False)
    assert (quick.returncode, quick.stdout.split("\n")) == (2, ["atexit", ""])
    assert (slow.returncode, slow.stdout.split("\n")) == (2, ["worked", "atexit", "taken apart", ""])
    assert "nowhere.yaml" in quick.stderr
    assert quick.stderr == slow.stderr
    closed = subprocess.run(
        [*COMMAND, "--help"], stdout=None, close_fds=True, check=False, preexec_fn=lambda: os.close(1)
    )
    assert closed.returncode == 0


def test_bad_input_is_one_line_per_issue_and_exit_code_2(tmp_path, gramtune):
    path = write_space(tmp_path, SPACE.replace("[1, 4, 16]", "[0, 1]").replace("replicates", "replicas"))
    for command in (["validate"], ["sweep"], ["sweep", "--debug"], ["sweep", "--dry-run"]):
        code, output, errors = gramtune(*command, path.name)
        assert (code, output) == (2, "")
        assert [line.split(": ")[0] for line in errors.splitlines()] == ["axis.yaml:5", "axis.yaml:6"]
    assert not (tmp_path / "runs").exists()


def test_validate_and_dry_run_start_nothing(tmp_path, gramtune):
    write_space(tmp_path)
    said = "axis.yaml: 3 trials × 2 replicates, metric fid_digits: no issue\n"
    assert gramtune("validate", "axis.yaml") == (0, said, "")
    code, output, errors = gramtune("sweep", "axis.yaml", "--dry-run", "--replicates", 5)
    assert code == 0, errors
    assert "3 × 5 replicates, 6 steps each" in output
    assert "2.38 standard deviations" in output
    assert not (tmp_path / "runs").exists()


def test_more_cores_than_there_are_is_said_at_once(tmp_path, gramtune):
    write_space(tmp_path, SPACE.replace("cpu: 1", "cpu: 4096"))
    code, output, errors = gramtune("sweep", "axis.yaml")
    assert (code, output) == (2, "")
    assert re.fullmatch(r"resources: each trial asks for cpu: 4096; this machine has \d+\n", errors)
    assert not (tmp_path / "runs").exists()


def test_train_runs_goes_on_and_refuses_another_configuration(tmp_path, gramtune):
    write_space(tmp_path)
    code, output, errors = gramtune("train", "base/tiny.yaml", "--replicates", 2)
    assert code == 0, errors
    assert re.search(r"step 6/6  fid_digits \d+.* ± .* \(n=2\)", output)
    code, output, _ = gramtune("train", "base/tiny.yaml", "--replicates", 2)
    assert (code, output.count("step ")) == (0, 1)  # the finished run repeats its last report
    code, _, errors = gramtune("train", "base/tiny.yaml", "--set", "training.steps=9")
    assert code == 2
    assert "holds a run of another configuration" in errors


def test_a_whole_sweep_in_process(tmp_path, gramtune):
    write_space(tmp_path)
    done = in_a_process("sweep", "axis.yaml", "--debug", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "axis"
    frame = results(tmp_path / "runs")
    assert len(frame) == 3 * 2 * 3  # trials × replicates × reports
    assert set(frame["objective.critic_dim"]) == {1, 4, 16}
    assert frame["value"].notna().all()
    pd.testing.assert_frame_equal(pd.read_csv(folder / "results.csv"), pd.read_parquet(folder / "results.parquet"))
    trials = pd.read_parquet(folder / "trials.parquet")
    assert list(trials["status"]) == ["COMPLETED"] * 3
    best = trials.loc[trials["mean"].idxmin()]
    assert f"critic_dim = {best['objective.critic_dim']}" in done.stdout
    assert {p.name for p in (folder / "figures").iterdir()} >= {"critic_dim.png", "critic_dim.svg"}
    assert "torch" in json.dumps(json.loads((folder / "versions.json").read_text()))

    code, _, errors = gramtune("sweep", "axis.yaml", "--debug")
    assert code == 2
    assert "gramtune resume runs/axis" in errors


def test_the_same_from_python(tmp_path):
    from gramtune import load_sweep, resume_sweep, run_sweep

    path = write_space(tmp_path)
    said = []
    result = run_sweep(load_sweep(path), tmp_path / "runs", debug=True, say=said.append)
    assert result.complete
    assert result.folder == tmp_path / "runs" / "axis"
    assert len(result.frame) == 3 * 2 * 3
    assert list(result.trials["status"]) == ["COMPLETED"] * 3
    again = resume_sweep(result.folder, debug=True, say=said.append)
    pd.testing.assert_frame_equal(again.frame, result.frame)
    with pytest.raises(ValueError, match="gramtune resume"):
        run_sweep(path, tmp_path / "runs", debug=True)


SLOW = ("training.steps=400", "training.eval_every=50")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """undisturbed(settings, space, base): the results of that sweep in this process and without an incident."""
    from gramtune import run_sweep
    from gramtune.space.load import Overrides, load_sweep

    @cache
    def run(settings=(), space=SPACE, base=BASE):
        folder = tmp_path_factory.mktemp("undisturbed")
        run_sweep(load_sweep(write_space(folder, space, base), Overrides(set=settings)), folder / "runs", debug=True)
        return results(folder / "runs")

    return run


def started(arguments, cwd, reports=4):
    """A sweep on a terminal of its own, after so many reports."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=cwd, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    journal = Path(cwd) / "runs" / "axis" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while not journal.exists() or journal.read_text().count('"step"') < reports:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "no report within two minutes"
        time.sleep(0.05)
    return process, master


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ctrl-c", "kill-9"])
def test_an_interrupted_sweep_resumes_to_the_same_table(how, undisturbed, tmp_path):
    write_space(tmp_path)
    process, master = started(["sweep", "axis.yaml", *(word for s in SLOW for word in ("--set", s))], tmp_path)
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does: the whole foreground group gets it
    else:
        os.kill(process.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    os.close(master)
    if how == "ctrl-c":
        assert process.returncode == 130, output
        assert "resume with: gramtune resume runs/axis" in output
        assert "Traceback" not in output
        assert (tmp_path / "runs" / "axis" / "results.parquet").exists()
    resumed = in_a_process("resume", "runs/axis", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    pd.testing.assert_frame_equal(results(tmp_path / "runs"), undisturbed(SLOW), check_exact=True)


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 1 MB that can grow; mounting needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("runner", [pytest.param([], marks=pytest.mark.slow), ["--debug"]])
def test_a_full_disk_is_reported_and_loses_nothing(runner, tiny_disk, undisturbed, tmp_path):
    large = SPACE.replace("[1, 4, 16]", "[1, 4, 16, 32, 64]"), BASE.replace("width: 4", "width: 64")
    write_space(tmp_path, *large)
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    arguments = [*runner, "--tracking-uri", store]
    done = in_a_process("sweep", "axis.yaml", "--runs", tiny_disk, *arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"resume with: gramtune resume {tiny_disk / 'axis'}" in done.stdout
    assert "no space left on the disk that holds" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    subprocess.run(["mount", "-o", "remount,size=200m", str(tiny_disk)], check=True)
    resumed = in_a_process("resume", tiny_disk / "axis", *arguments, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    pd.testing.assert_frame_equal(results(tiny_disk), undisturbed((), *large), check_exact=True)


@pytest.mark.parametrize(("statuses", "code"), [("DD", 1), ("DF", 1), ("DC", 0), ("CF", 1), ("PC", 0), ("DP", 0)])
def test_a_sweep_without_any_result_is_not_exit_code_0(statuses, code, tmp_path, capsys):
    """All trials diverged, and the command ended with 0, as if there were something to go on with."""
    letters = {"D": Status.DIVERGED, "F": Status.FAILED, "C": Status.COMPLETED, "P": Status.PRUNED}
    state = sweep_state(tmp_path, "  objective.critic_dim: {grid: [1, 4]}\n")
    for name, letter in zip(state.records, statuses, strict=True):
        state.ended(name, letters[letter])
    assert execute(lambda say, watch: Result(tmp_path, state, True, ""), tmp_path) == code
    said = capsys.readouterr().out.replace("\n", "")
    assert ("No trial has a result: all 2 DIVERGED or FAILED" in said) == (set(statuses) <= set("DF"))
