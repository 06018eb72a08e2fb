"""A broken console or the user's matplotlib settings do not lose tables, figures or MLflow's last state."""

import errno
import os
import pty
import subprocess
import sys

import pytest
from drawing import drawn
from mlflow import MlflowClient
from sweeps import write_space

from gramtune.api import careful, run_sweep
from gramtune.backends.mlflow.store import default_uri
from gramtune.report import FIGURES, PAGE, SUMMARY

COMMAND = [sys.executable, "-m", "gramtune.cli.main"]
WRITTEN = {"results.parquet", "results.csv", "trials.parquet", "trials.csv", SUMMARY, PAGE, FIGURES}


def whole(folder):
    """What of a finished sweep is missing."""
    return WRITTEN - {path.name for path in folder.iterdir()}


def sweep(folder, **popen):
    write_space(folder)
    return subprocess.Popen([*COMMAND, "sweep", "axis.yaml", "--debug"], cwd=folder, **popen)


def statuses(folder):
    client = MlflowClient(default_uri(folder / "runs"))
    experiment = client.get_experiment_by_name("gramtune")
    return [run.info.status for run in client.search_runs([experiment.experiment_id])]


def test_a_full_standard_output_costs_nothing_but_what_was_printed(tmp_path):
    with open("/dev/full", "w") as full:
        process = sweep(tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert errors == "standard output: No space left on device; output is lost, the files are complete\n"
    assert not whole(tmp_path / "runs" / "axis")
    assert statuses(tmp_path) == ["FINISHED"] * 4


def test_a_terminal_that_is_closed_during_a_sweep_costs_nothing(tmp_path):
    """As after `disown`: the live view writes into a terminal that is gone."""
    master, slave = pty.openpty()
    process = sweep(tmp_path, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    seen = b""
    while b"axis" not in seen:
        seen += os.read(master, 1000)
    os.close(master)
    assert process.wait(600) == 0
    assert not whole(tmp_path / "runs" / "axis")
    assert statuses(tmp_path) == ["FINISHED"] * 4


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_an_encoding_without_the_characters_costs_the_characters(encoding, tmp_path):
    write_space(tmp_path)
    for command in (["sweep", "axis.yaml", "--dry-run"], ["validate", "axis.yaml"], ["report", "nowhere-σ"]):
        env = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run([*COMMAND, *command], cwd=tmp_path, env=env, capture_output=True, check=False)
        text = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert done.returncode == (2 if command[0] == "report" else 0), text
        assert "Traceback" not in text


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_closed_standard_streams_are_not_taken_by_files(closed, tmp_path):
    """The journal was opened as file descriptor 1, and Ray's processes printed into it."""
    code = (
        "from gramtune.cli.streams import harden\nharden()\nimport os\n"
        "open('first', 'w').write(str(sorted(int(n) for n in os.listdir('/proc/self/fd'))))\nprint('lost')"
    )

    def close():
        for number in closed:
            os.close(number)

    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, preexec_fn=close, check=True)
    assert (tmp_path / "first").read_text().startswith("[0, 1, 2, ")


def test_a_closed_pipe_is_not_an_error(tmp_path):
    write_space(tmp_path)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "validate", "axis.yaml"], cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "gone"), ValueError("I/O operation on closed file")])
def test_a_print_that_fails_is_no_reason_to_end(error, tmp_path):
    """In a script or a notebook, where `say` is the caller's."""

    def say(line):
        raise error

    write_space(tmp_path)
    result = run_sweep(tmp_path / "axis.yaml", tmp_path / "runs", debug=True, say=say)
    assert result.complete
    assert not whole(result.folder)
    assert statuses(tmp_path) == ["FINISHED"] * 4


def test_a_line_that_cannot_be_encoded_is_said_without_its_characters():
    said = []

    def say(line):
        line.encode("ascii")
        said.append(line)

    careful(say)("σ = 1 ± 2")
    assert said == ["? = 1 ? 2"]


def test_tables_and_tracker_come_before_what_may_fail(tmp_path, monkeypatch):
    """Figures that end in an error of any kind; the summary too."""
    from gramtune.report.figures import catalogue
    from gramtune.report.page import page
    from gramtune.report.text import summary

    seen = []

    def fails(*arguments):
        seen.append((sorted(path.name for path in (tmp_path / "runs" / "axis").glob("*.parquet")), statuses(tmp_path)))
        raise SystemError("no fonts\nat all")

    for module, name in ((catalogue, "write_figures"), (page, "page")):
        monkeypatch.setattr(module, name, fails)
    monkeypatch.setattr(summary, "summary_text", fails)
    write_space(tmp_path)
    said = []
    result = run_sweep(tmp_path / "axis.yaml", tmp_path / "runs", debug=True, say=said.append)
    assert result.complete
    assert seen
    assert all(at == (["results.parquet", "trials.parquet"], ["FINISHED"] * 4) for at in seen)
    text = "\n".join(said)
    for part in ("the summary", "figures/", "report.html"):
        assert f"{part} failed: SystemError: no fonts" in text
    assert "open with: gramtune ui" in text


SETTINGS = {
    "a notebook's backend, not installed": {"MPLBACKEND": "module://nobody.has.this"},
    "no backend": {"MPLBACKEND": "nonsense"},
    "TeX": "text.usetex: true\nfont.family: serif\naxes.prop_cycle: cycler('color', ['k'])\nfigure.dpi: 9\n",
    "too large": "figure.dpi: 900000\nsavefig.bbox: tight\n",
    "no text file": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_figures_are_the_same_whatever_matplotlib_is_told(settings, tmp_path):
    code = """
import sys, pathlib
from drawing import drawn
drawn(pathlib.Path(sys.argv[1]))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if isinstance(settings, dict):
        environment |= settings
    else:
        (tmp_path / "matplotlibrc").write_bytes(settings if isinstance(settings, bytes) else settings.encode())
        environment["MATPLOTLIBRC"] = str(tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "theirs")], env=environment, check=True)
    drawn(tmp_path / "ours")
    names = [path.name for path in sorted((tmp_path / "ours" / FIGURES).iterdir())]
    assert "critic_dim.png" in names
    for name in names:
        assert (tmp_path / "theirs" / FIGURES / name).read_bytes() == (tmp_path / "ours" / FIGURES / name).read_bytes()


def test_the_users_own_settings_are_back_afterwards():
    import matplotlib as mpl

    from gramtune.report.figures import plain_settings

    before = mpl.rcParams["lines.linewidth"]
    mpl.rcParams["lines.linewidth"] = 7
    try:
        with plain_settings():
            assert mpl.rcParams["lines.linewidth"] == mpl.rcParamsDefault["lines.linewidth"]
        assert mpl.rcParams["lines.linewidth"] == 7
    finally:
        mpl.rcParams["lines.linewidth"] = before
