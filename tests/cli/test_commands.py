"""The commands list, describe, show, diff, status, schema, init, shell completion, and the options -q and -v."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from states import recorded_sweep, report
from sweeps import SPACE, write_space
from typer.main import get_command
from typer.testing import CliRunner, Result

from gramtune.cli.catalogue import Kind
from gramtune.cli.command import EXAMPLES
from gramtune.cli.main import app
from gramtune.errors import SpecError
from gramtune.record.report import Status
from gramtune.run.lock import driver_of, driving
from gramtune.space import shipped
from gramtune.space.load import load_sweep

COMMANDS = list(get_command(app).commands)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)), prog_name="gramtune", env={"COLUMNS": "120"})


def issue(*words: object) -> str:
    """What a command refuses with."""
    done = run(*words)
    assert isinstance(done.exception, SpecError), done.output
    return str(done.exception)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def two_runs(here: Path) -> tuple[Path, Path]:
    """A finished sweep, and one that has stopped after a trial."""
    done = [({"objective.critic_dim": k}, [report(6, [k, k + 1.0], Status.COMPLETED)], None) for k in (1, 4, 16)]
    finished = recorded_sweep(here, SPACE, done)
    other = SPACE.replace("name: axis", "name: other").replace("replicates: 2", "replicates: 3")
    unfinished = recorded_sweep(here, other, [({"objective.critic_dim": 1}, [report(3, [5.0, 6.0, 7.0])], None)])
    return finished.relative_to(here), unfinished.relative_to(here)


@pytest.mark.parametrize("kind", Kind)
def test_each_thing_that_can_be_listed_has_a_line_and_a_description(kind: Kind) -> None:
    overview = run("list").output.splitlines()
    (names,) = (line.partition(":")[2].strip().split(", ") for line in overview if line.startswith(f"{kind.value}:"))
    listed = run("list", kind.value).output.splitlines()
    assert [line.split()[0] for line in listed] == names
    assert all(len(line.split()) > 2 for line in listed), "a name without a word on what it is"
    singular = kind.value.removesuffix("s")
    for name in names:
        described = run("describe", singular, name)
        assert described.exit_code == 0, described.output
        assert len(described.output.splitlines()) > 2


def test_list_alone_names_every_kind() -> None:
    output = run("list").output
    assert [line.split(":")[0] for line in output.splitlines()] == [kind.value for kind in Kind]
    assert "gram, " in output
    assert "critic_dim, " in output


def test_describe_tells_fields_defaults_and_source() -> None:
    output = run("describe", "objective", "gram").output
    assert output.startswith("The critic f: R^D → R^K keeps density ratios")
    assert "\n  critic_dim: integer > 0  (required)\n      K, dimension of the space" in output
    assert "\n  ridge: number ≥ 0 or null = 0.001\n" in output
    assert "\n  divergence: pearson | mean_ratio or null = pearson\n" in output
    assert Path(output.splitlines()[-1].removeprefix("source: ")).name == "gram.py"
    assert issue("describe", "objectve", "gram").startswith("describe: kind 'objectve' does not exist; did you mean")
    assert "did you mean 'gram'? legal: alpha_gan, " in issue("describe", "objective", "grm")


def test_a_plug_in_is_listed_described_and_in_the_schema() -> None:
    file = Path(__file__).parents[2] / "examples" / "moments.py"
    assert "objective.weight" not in json.loads(run("schema").output)["properties"]["space"]["properties"]

    def gramtune(*words: str) -> str:
        return run(*words, "--plugin", str(file)).output

    assert re.search(r"^moments +Matches mean and covariance", gramtune("list", "objectives"), re.MULTILINE)
    described = gramtune("describe", "objective", "moments")
    assert "weight: number = 1.0\n      Weight of the covariance term." in described
    assert described.splitlines()[-1].endswith("moments.py")
    schema = json.loads(gramtune("schema"))
    assert "objective.weight" in schema["properties"]["space"]["properties"]


def test_show_lists_trials_and_resolves_one(here: Path) -> None:
    write_space(here)
    assert run("show", "axis.yaml").output == "0  critic_dim=1\n1  critic_dim=4\n2  critic_dim=16\n"
    by_number = run("show", "axis.yaml", "--trial", 2, "--set", "training.seed=7").output
    assert by_number == run("show", "axis.yaml", "--trial", "critic_dim=16", "--set", "training.seed=7").output
    (here / "one.yaml").write_text(by_number)
    from gramtune.space.load import load_config

    config = load_config("one.yaml")  # a base file, comment and all
    assert (config.objective.critic_dim, config.training.seed, config.objective.ridge) == (16, 7, 1e-3)
    assert issue("show", "axis.yaml", "--trial", 3).startswith("--trial: '3' does not exist; numbers 0 to 2, or a name")
    assert "sampled while the sweep runs" in issue("show", "joint")


def test_show_and_diff_read_run_directories(two_runs: tuple[Path, Path]) -> None:
    finished, unfinished = two_runs
    assert "critic_dim: 4" in run("show", finished, "--trial", 1).output
    assert run("diff", finished, unfinished).output == "replicates 2 → 3\n"
    assert run("diff", finished, finished).output == "no difference\n"
    assert "search.name grid → tpe" in run("diff", "critic_dim", "joint").output
    assert "holds no sweep" in issue("show", "runs")


def test_status_tells_all_sweeps_and_one(two_runs: tuple[Path, Path]) -> None:
    finished, unfinished = two_runs
    rows = [line.split() for line in run("status").output.splitlines()]
    assert rows[1][:3] == ["axis", "finished", "3/3"]
    assert rows[2][:3] == ["other", "unfinished", "0/3"]
    with driving(unfinished):
        assert [line.split()[1] for line in run("status").output.splitlines()[1:]] == ["finished", "running"]
        one = run("status", unfinished).output
        assert f"running: process {os.getpid()} on " in one
        assert "3/6" in one
    assert driver_of(unfinished) == ""
    assert f"resume it with: gramtune resume {unfinished}" in run("status", unfinished).output
    assert "3 COMPLETED" in run("status", finished).output
    assert issue("status", "--runs", "elsewhere") == "elsewhere: holds no sweep; name the folder of sweeps with --runs"


@pytest.mark.parametrize("base", shipped.bases())
def test_init_writes_a_file_that_is_a_legal_sweep(base: str, here: Path) -> None:
    done = run("init", "mine", "--base", base)
    assert done.exit_code == 0, done.output
    assert "next: gramtune sweep mine.yaml" in done.output
    sweep = load_sweep("mine.yaml")
    assert (sweep.name, sweep.replicates, len(sweep.space)) == ("mine", 3, 2)
    first = Path("mine.yaml").read_text().splitlines()[0]
    assert json.loads(Path(first.partition("$schema=")[2]).read_text())["properties"]["space"]
    assert issue("init", "mine") == "mine.yaml: exists already; choose another name"


def test_what_init_says_in_comments_is_legal_too(here: Path) -> None:
    run("init", "mine")
    file = Path("mine.yaml")
    text = file.read_text()
    for comment in re.findall(r"^# ((?:tolerance|budget): .*)$", text, re.MULTILINE):
        text = text.replace(f"# {comment}", comment)
    file.write_text(text.replace("grid", "choice").replace("# search:", "search:").replace("# pruner:", "pruner:"))
    sweep = load_sweep(file)
    assert (sweep.search.name, sweep.pruner.false_prune_rate, sweep.budget.seconds) == ("tpe", 0.2, 3600)


def test_init_refuses_a_bad_name_and_leaves_nothing(here: Path) -> None:
    assert "name = 'a b' should be letters" in issue("init", "a b")
    assert list(here.iterdir()) == []


def test_every_command_is_in_a_group_with_its_usage_in_one_form() -> None:
    output = run("--help").output
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", output, re.MULTILINE), name
        usage = run(name, "--help").output.splitlines()[0]
        assert re.fullmatch(rf"Usage: gramtune {name} \[OPTIONS\]( \[?[A-Z=]+\]?(\.\.\.)?)*", usage), usage
    assert EXAMPLES.keys() <= {"", *COMMANDS}


def test_launch_shows_the_options_of_sweep() -> None:
    output = run("launch", "--help").output
    passed = output.split("Options of sweep:")[1]
    for option in ("--replicates", "--set", "--max-concurrent", "--runs", "--plugin"):
        assert option in passed
    for option in ("--debug", "--address", "--dry-run", "--pilot", "--like", "--resume"):
        assert option not in passed


def complete(words: str, cwd: Path) -> list[str]:
    """What bash would offer."""
    env = {
        **os.environ,
        "_GRAMTUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    command = [sys.executable, "-m", "gramtune"]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False).stdout.split()


def test_the_shell_completes_commands_spaces_and_runs(two_runs: tuple[Path, Path], here: Path) -> None:
    assert complete("gramtune val", here) == ["validate"]
    assert complete("gramtune sweep critic_d", here) == ["critic_dim", "critic_dim_reduction"]
    assert complete("gramtune sweep ax", here) == ["axis.yaml"]
    assert complete("gramtune resume ru", here) == ["runs/axis", "runs/other"]


def test_quiet_is_silent_and_verbose_says_what_is_read(here: Path) -> None:
    write_space(here)

    def gramtune(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gramtune", *words]
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)

    done = gramtune("train", "base/tiny.yaml", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (here / "runs" / "train-tiny").is_dir()
    loud = gramtune("validate", "axis.yaml", "-v")
    assert loud.stdout == "axis.yaml: 3 trials × 2 replicates, metric fid_digits: no issue\n"
    assert "gramtune.space.load: space file axis.yaml\n" in loud.stderr
    assert "gramtune.space.load: base base/tiny.yaml\n" in loud.stderr


@pytest.mark.parametrize(("replicates", "code"), [("2", 0), ("bad", 2)])
def test_a_quiet_sweep_says_nothing_but_issues(
    replicates: str, code: int, tmp_path: Path, gramtune: Callable[..., tuple[int, str, str]]
) -> None:
    write_space(tmp_path, SPACE.replace("[1, 4, 16]", "[4]"))
    ended, output, errors = gramtune("sweep", "axis.yaml", "--debug", "-q", "--replicates", replicates)
    assert (ended, output) == (code, "")
    assert bool(errors) == bool(code)
