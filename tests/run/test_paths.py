"""Paths as users write them, moved or copied folders, and names that need quoting in a shell."""

import getpass
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from mlflow import MlflowClient
from stores import assert_exactly_once
from sweeps import SPACE, write_space

import gramtune as gramtune_package
from gramtune.api import resume_sweep, run_sweep
from gramtune.backends.mlflow.store import default_uri
from gramtune.backends.mlflow.tracker import MlflowTracker
from gramtune.io import command, data_root, ensure_home, local_runs, user_path, write_atomically
from gramtune.run.run_directory import recorded_state

COMMAND = [sys.executable, "-P", "-m", "gramtune.cli.main"]
ONE = SPACE.replace("[1, 4, 16]", "[4]")


def in_a_process(*words, cwd, **environment):
    env = {**os.environ, **environment}
    return subprocess.run([*COMMAND, *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, timeout=600)


@pytest.fixture
def runs(tmp_path, migrated):
    """A folder of sweeps with an embedded store."""
    runs = tmp_path / "runs"
    (runs / ".mlflow").mkdir(parents=True)
    shutil.copy(migrated, runs / ".mlflow")
    write_space(tmp_path, ONE)
    return runs


def sweep(runs):
    said = []
    return run_sweep(runs.parent / "axis.yaml", runs, debug=True, say=said.append).folder


def test_a_tilde_is_the_home_folder_wherever_no_shell_has_seen_it(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    write_space(tmp_path, ONE)
    for words, variables in ((["--runs=~/a"], {}), ([], {"GRAMTUNE_RUNS": "~/b"})):
        done = in_a_process("train", "base/tiny.yaml", *words, cwd=tmp_path, HOME=str(home), **variables)
        assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in home.iterdir()} >= {"a", "b"}
    assert not (tmp_path / "~").exists()
    monkeypatch.setenv("HOME", str(home))
    assert local_runs("~/a") == home / "a"
    assert user_path("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")


def test_a_sweep_resumed_from_inside_its_folder_keeps_its_store(runs):
    """`gramtune resume .` made another store, inside the folder."""
    folder = sweep(runs)
    done = in_a_process("resume", ".", "--debug", "--replicates", 3, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / ".mlflow").exists()
    assert_exactly_once(default_uri(runs), recorded_state(folder))


def locations(runs):
    client = MlflowClient(default_uri(runs))
    experiment = client.get_experiment_by_name("gramtune")
    found = client.search_runs([experiment.experiment_id])
    assert found
    return [experiment.artifact_location, *(run.info.artifact_uri for run in found)], found


def test_a_folder_of_sweeps_that_was_moved_keeps_its_tracking(runs, tmp_path):
    """The old folder was made again, and new files went there."""
    sweep(runs)
    moved = tmp_path / "else where"
    runs.rename(moved)
    resume_sweep(moved / "axis", replicates=3, debug=True, say=lambda line: None)
    assert not runs.exists()
    assert_exactly_once(default_uri(moved), recorded_state(moved / "axis"))
    places, found = locations(moved)
    assert all(place.startswith((moved / ".mlflow" / "artifacts").as_uri()) for place in places)
    client = MlflowClient(default_uri(moved))
    assert all(client.list_artifacts(run.info.run_id) for run in found)


def test_a_copy_beside_its_original_is_a_sweep_of_its_own(runs):
    """Both wrote into the same runs."""
    folder = sweep(runs)
    copy = runs / "copy"
    shutil.copytree(folder, copy)
    state = recorded_state(copy)
    MlflowTracker(default_uri(runs), copy).finish(state, copy)
    names = [run.data.tags["gramtune.sweep_id"] for run in locations(runs)[1]]
    assert len(set(names)) == 2
    assert {names.count(name) for name in names} == {2}
    copy.rename(runs / "renamed")  # a moved one is the same sweep
    MlflowTracker(default_uri(runs), runs / "renamed").finish(state, runs / "renamed")
    assert len(locations(runs)[1]) == 4


def test_a_copy_with_its_own_store_keeps_its_tracking(runs, tmp_path):
    """It was tracked a second time, beside the runs that came with it."""
    folder = sweep(runs)
    before = {run.info.run_id for run in locations(runs)[1]}
    copied = tmp_path / "copied"
    shutil.copytree(runs, copied)
    state = recorded_state(copied / "axis")
    MlflowTracker(default_uri(copied), copied / "axis").finish(state, copied / "axis")
    assert {run.info.run_id for run in locations(copied)[1]} == before
    shutil.copytree(copied / "axis", runs / "again")  # in the store of the first one it is another sweep
    MlflowTracker(default_uri(runs), runs / "again").finish(state, runs / "again")
    assert len(locations(runs)[1]) == 2 * len(before)
    assert (folder / "sweep_id").read_text().split()[0] == (copied / "axis" / "sweep_id").read_text().split()[0]


def test_a_folder_with_two_paths_is_one_sweep(runs, tmp_path):
    folder = sweep(runs)
    (tmp_path / "link").symlink_to(runs)
    identity = (folder / "sweep_id").read_text().split()[0]
    MlflowTracker(default_uri(runs), tmp_path / "link" / "axis").finish(recorded_state(folder), folder)
    assert (folder / "sweep_id").read_text().split()[0] == identity


def test_suggested_commands_can_be_copied(runs, tmp_path):
    strange = tmp_path / "it's $HOME; rm *"
    runs.rename(strange)
    done = in_a_process("sweep", "axis.yaml", "--debug", "--runs", strange, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    again = in_a_process("sweep", "axis.yaml", "--debug", "--runs", strange, cwd=tmp_path)
    assert again.returncode == 2
    suggested = again.stderr.partition("to continue it unchanged: ")[2].partition("; or choose")[0]
    assert shlex.split(suggested) == ["gramtune", "resume", str(strange / "axis")]
    assert f"gramtune ui --runs {shlex.quote(str(strange))}" in done.stdout
    assert command("resume", "runs/axis") == "gramtune resume runs/axis"


SHADOWS = ("random", "queue", "statistics", "secrets", "csv", "calendar")


def test_a_working_directory_with_modules_of_the_standard_library_breaks_no_child(tmp_path):
    write_space(tmp_path, ONE)
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('shadowed')\n")
    done = in_a_process("sweep", "axis.yaml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    code = (
        "from gramtune.backends.mlflow.server import running_server\n"
        "from gramtune.backends.mlflow.store import default_uri\nfrom pathlib import Path\n"
        "with running_server(default_uri(Path('runs'))) as (base, _): print(base)"
    )
    served = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert served.stdout.startswith("http://"), served.stderr


@pytest.mark.slow
def test_a_working_directory_with_modules_of_the_standard_library_breaks_no_trial(tmp_path):
    write_space(tmp_path, ONE)
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('shadowed')\n")
    done = in_a_process("sweep", "axis.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "COMPLETED" in done.stdout


def test_an_account_without_home_and_name_gets_both(tmp_path, monkeypatch):
    """`docker -u 1234`: Path.home and getpass.getuser fail, and MLflow, matplotlib and Ray with them."""

    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for home in (None, ""):
        for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
            monkeypatch.delenv(name, raising=False)
        if home is not None:
            monkeypatch.setenv("HOME", home)
        ensure_home()
        assert getpass.getuser() == f"user-{os.getuid()}"
        assert Path.home().parent == tmp_path
        assert Path.home().stat().st_mode & 0o777 == 0o700
        assert data_root().is_relative_to(tmp_path)


def test_a_home_that_cannot_be_written_remains_and_nothing_is_cached_there(unprivileged, monkeypatch):
    home = unprivileged / "home"
    home.mkdir(mode=0o500)
    for name in ("MPLCONFIGDIR", "GRAMTUNE_DATA", "GRAMTUNE_SCRATCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(unprivileged))
    ensure_home()
    assert Path.home() == home
    assert Path(os.environ["MPLCONFIGDIR"]).parent == unprivileged
    assert data_root().parent == unprivileged
    assert local_runs("file:///nowhere/runs").is_relative_to(unprivileged)
    assert not list(home.iterdir())


FOREIGN = """
base=$1; keep=$2; cd "$3"; shift 3
mount --bind "$base" "$keep" && mount -t tmpfs -o mode=755 tmpfs /root && mkdir -p "$base" &&
mount --bind "$keep" "$base"
exec setpriv --reuid=12345 --regid=12345 --clear-groups env -u HOME -u LOGNAME -u USER -u USERNAME "$@"
"""
"""A user without name and home, who can read the interpreter even if that lies in the home of root."""


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--debug"]], ids=["ray", "debug"])
def test_a_sweep_of_a_foreign_user_without_home_runs_and_is_tracked(options):
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        keep, work = Path(place, "keep"), Path(place, "work")
        keep.mkdir()
        work.mkdir()
        write_space(work, ONE)
        for path in (work, *work.rglob("*")):
            shutil.chown(path, 12345, 12345) if os.geteuid() == 0 else pytest.skip("another user needs root")
        env = {**os.environ, "PYTHONPATH": str(Path(gramtune_package.__file__).parents[1])}
        command = ["unshare", "--mount", "sh", "-c", FOREIGN, "sh", sys.base_prefix, str(keep), str(work)]
        words = [*COMMAND, "sweep", "axis.yaml", *options]
        done = subprocess.run([*command, *words], env=env, capture_output=True, text=True, timeout=1200)
        if "unshare failed" in done.stderr or "mount:" in done.stderr:
            pytest.skip("no mount namespace can be made here")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "open with: gramtune ui" in done.stdout
        assert done.stderr == ""
        assert_exactly_once(default_uri(work / "runs"), recorded_state(work / "runs" / "axis"))


def test_an_output_that_is_a_device_stays_one(tmp_path):
    """Root's `--output /dev/null` put a file in its place."""
    output = tmp_path / "null"
    output.symlink_to("/dev/null")
    write_atomically(output, lambda path: path.write_text("x"))
    assert output.is_char_device()
    assert output.is_symlink()
