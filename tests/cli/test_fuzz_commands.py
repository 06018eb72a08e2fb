# ruff: noqa: E501 - tables of hostile values
"""Mutated words, files and folders given to every command, and mutated values given to the Python API.

Nothing may end in a traceback: exit code 2 comes with a line that names the place. A few are in the default suite, 2,000
are marked slow.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
import shutil
import sys

import pytest
import typer
from mutations import MUTATIONS, TooSlow, limited
from sweeps import SPACE, write_space

from gramtune import Sweep, load_sweep, open_run, resume_sweep, run_sweep
from gramtune.cli import main as cli
from gramtune.errors import SpecError

RUN = "runs/axis"
COMMANDS = {
    "init": ["mine", "--base", "digits"],
    "validate": ["axis.yaml"],
    "show": ["axis.yaml", "--trial", "1"],
    "list": ["objectives"],
    "describe": ["objective", "gram"],
    "schema": ["-o", "space.json"],
    "sweep": ["axis.yaml"],
    "resume": [RUN],
    "enqueue": [RUN, "objective.critic_dim=2"],
    "train": ["base/tiny.yaml", "--out", "trained"],
    "status": [RUN],
    "report": [RUN],
    "export": [RUN, "--format", "latex"],
    "diff": [RUN, "runs/other"],
    "ui": ["--runs", "runs"],
    "sync": [RUN],
    "clean": [RUN],
    "sample": [RUN, "-n", "4", "--out", "digits.png"],
    "evaluate": [RUN, "--samples", "100"],
    "replay": [RUN, "--pruner", "asha"],
    "launch": ["local.yaml", "axis.yaml"],
    "attach": ["local.yaml"],
    "stop": ["local.yaml"],
    "down": ["local.yaml"],
    "doctor": ["--runs", "runs"],
}
"""The words of a command line that are mutated."""
NOWHERE = ["--tracking-uri", "ftp://x"]
ENDS = {
    "sweep": ["--dry-run"],
    "resume": ["--debug"],
    "clean": ["--dry-run"],
    "launch": ["--dry-run"],
    "sync": NOWHERE,
    "doctor": NOWHERE,
}
"""What is added behind them, so that each command ends within seconds and starts no Ray."""
LOCAL = "target: local\ndashboard_port: 59971\nport: 59972\nnum_cpus: 1\n"
WORDS = (
    *("", " ", "-", "--", "--nope", "-x", "ü", "🙂", "a\nb", "x" * 3000, "%", "*", "[", "{", "=", "a=b", "a=[1", "\udcff"),
    *("../..", ".", "/dev/null", "/proc/self/mem", "~nobody/x", "~", "axis.yaml", "runs", RUN, "local.yaml", "nowhere/x.yaml"),
    *("0", "1", "-1", "3", "1.5", "1e400", "-1e400", "nan", "inf", "9" * 400, "0x10", "1_000", "None", "true", "auto", "last"),
    *("s3://[", "s3://", "s3:/x", "file:///", "foo://x/y", "http://[", "http://", "sqlite:///", "sqlite:////nowhere/x.db", "127.0.0.1:1"),
    *("training.steps=", "training.steps=-1", "training.steps=x", "objective=", "objective.name=nope", "=3", "a.b=1", "metrics=fid"),
    *("gram", "digits", "objective", "critic_dim", "latex", "csv", "asha", "fid_digits", "$HOME", "`x`", "a,b", "a b", "'", '"'),
)  # fmt: skip
DAMAGED = (
    "axis.yaml",
    "base/tiny.yaml",
    "local.yaml",
    f"{RUN}/sweep.yaml",
    f"{RUN}/journal.jsonl",
    f"{RUN}/versions.json",
)
FAST = 60
"""Of the default suite."""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a space, a cluster and two finished sweeps."""
    folder = tmp_path_factory.mktemp("original")
    space = write_space(folder, SPACE.replace("[1, 4, 16]", "[1, 4]"))
    (folder / "local.yaml").write_text(LOCAL)
    run_sweep(space, folder / "runs", debug=True, say=lambda line: None)
    shutil.rmtree(folder / "runs" / ".mlflow")
    shutil.copytree(folder / RUN, folder / "runs" / "other")
    return folder


def mutated_words(rng, name, words):
    """One word of a command line is replaced, left out, doubled or added, as the value of one of its options too."""
    words, kind = (
        list(words),
        rng.choice(["replace", "replace", "replace", "option", "option", "drop", "double", "add"]),
    )
    options = [option for parameter in cli_commands()[name].params for option in parameter.opts if option[0] == "-"]
    if kind == "option" and options:
        option, value = rng.choice(options), rng.choice(WORDS)
        return [*words, rng.choice([f"{option}={value}", option])] if rng.random() < 0.5 else [*words, option, value]
    at = rng.randrange(len(words))
    if kind == "drop":
        del words[at]
    elif kind == "double":
        words.insert(at, words[at])
    elif kind == "add":
        words.insert(rng.randrange(len(words) + 1), rng.choice(WORDS))
    else:
        words[at] = rng.choice(WORDS)
    return words


def cli_commands():
    return typer.main.get_command(cli.app).commands


def damage(rng, folder):
    """Of one file that commands read; returns its name."""
    name = rng.choice(DAMAGED)
    path = folder / name
    text = path.read_text(encoding="utf-8")
    for _ in range(rng.choice([1, 1, 2])):
        text = rng.choice(MUTATIONS)(rng, text)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return name


def ended(words, monkeypatch):
    """Exit code, output and errors of the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "argv", ["gramtune", *words])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with limited():
                cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except TooSlow:  # what it was given is much work
            code = 0
    return code, out.getvalue(), err.getvalue()


def broken(code, out, err):
    """Which rule the end of a command breaks; empty for none."""
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if "Traceback" in out + err or "gramtune failed:" in err:
        return "a traceback"
    if code == 0:
        return ""
    lines = [line for line in (err or out).splitlines() if line.strip()]
    if not lines:
        return "no line"
    if code == 2 and not any(re.match(r"(Usage|Error): |\S.*?: \S", line) for line in lines):
        return "no place"
    return ""


def a_command(seed, original, folder, monkeypatch):
    """Runs a mutated command line, or a command on damaged files; returns the complaint, or nothing."""
    rng = random.Random(seed)
    name = rng.choice(sorted(COMMANDS))
    shutil.copytree(original, folder)
    monkeypatch.chdir(folder)
    words, damaged = COMMANDS[name], ""
    if rng.random() < 0.5:
        words = mutated_words(rng, name, words)
    else:
        damaged = damage(rng, folder)
    ending = ended([name, *words, *ENDS.get(name, [])], monkeypatch)
    why = broken(*ending)
    return f"seed {seed}: {why}: {name} {words} {damaged}\n{ending[1][-500:]}\n{ending[2][-1500:]}" if why else ""


@pytest.fixture
def quiet(monkeypatch, offline, tmp_path):
    """No server is served; no variable names another store; the home folder is an empty one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("gramtune.backends.mlflow.server.serve", lambda *_: 0)  # it would serve until Ctrl-C
    for variable in ("GRAMTUNE_RUNS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)


def complaints(seeds, original, tmp_path, monkeypatch):
    found = []
    for seed in seeds:
        folder = tmp_path / str(seed)
        found.append(a_command(seed, original, folder, monkeypatch))
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(folder)
    return [complaint for complaint in found if complaint]


def test_every_command_is_tried():
    assert set(COMMANDS) == set(cli_commands())


def test_mutated_commands_end_with_a_line_that_names_the_place(original, tmp_path, monkeypatch, quiet):
    assert complaints(range(FAST), original, tmp_path, monkeypatch) == []


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_two_thousand_mutated_commands_and_calls(block, original, tmp_path, monkeypatch, quiet):
    seeds = range(1000 + 80 * block, 1000 + 80 * (block + 1))
    assert complaints(seeds, original, tmp_path, monkeypatch) == []
    assert refusals(seeds[:20], original, tmp_path, monkeypatch) == []


# the Python API

VALUES = (
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    10**400,
    "",
    "x",
    "ü",
    "nope",
    "../..",
    "s3://[",
    b"x",
    [],
    [1],
    {},
    {"a": 1},
    (),
    object(),
)
FIELDS = {
    "name": "mine",
    "base": "digits",
    "space": {"objective.critic_dim": {"grid": [1]}},
    "replicates": 2,
    "metric": "fid_digits",
}
KEYWORDS = ("base", "name", "replicates", "samples", "time_budget", "set", "plugins")


def a_call(rng, folder):
    """A mutated call of the Python API."""
    kind, value = rng.choice(["load", "sweep", "nested", "run", "resume", "open", "plot", "file"]), rng.choice(VALUES)
    if kind == "load":
        return f"load_sweep {value!r}", lambda: load_sweep("axis.yaml", **{rng.choice(KEYWORDS): value})
    if kind == "sweep":
        field = rng.choice(
            [*FIELDS, "search", "pruner", "budget", "resources", "judge", "plugins", "tolerance", "nope"]
        )
        return f"Sweep {field}={value!r}", lambda: Sweep(**{**FIELDS, field: value})
    if kind == "nested":
        domain = {rng.choice(["grid", "int", "uniform", "choice", "cases", "when", "step", "nope"]): value}
        return f"Sweep {domain}", lambda: Sweep(**{**FIELDS, "space": {"objective.critic_dim": domain}})
    if kind == "run":
        text = rng.choice(("base/tiny.yaml", "local.yaml", *(word for word in WORDS if word != "critic_dim")))
        return f"run_sweep {text!r}", lambda: run_sweep(text, "elsewhere", debug=True, say=len)
    if kind == "resume":
        keyword = rng.choice(["replicates", "samples", "time_budget", "until", "max_replicates"])
        return f"resume {keyword}={value!r}", lambda: resume_sweep(RUN, debug=True, say=len, **{keyword: value})
    if kind == "open":
        text = rng.choice(WORDS)
        return f"open_run {text!r}", lambda: open_run(text)
    if kind == "plot":
        text = rng.choice(WORDS)
        return f"plot {text!r}", lambda: open_run(RUN).plot(text)
    name = damage(rng, folder)
    return f"open_run, {name} damaged", lambda: open_run(RUN).summary


def refusals(seeds, original, tmp_path, monkeypatch):
    """Calls that raise something else than a SpecError, with a place for each issue."""
    found = []
    for seed in seeds:
        folder = tmp_path / f"call-{seed}"
        shutil.copytree(original, folder)
        monkeypatch.chdir(folder)
        what, call = a_call(random.Random(seed), folder)
        try:
            with limited():
                call()
        except SpecError as error:
            if not error.issues or not all(issue.where and issue.message for issue in error.issues):
                found.append(f"seed {seed}: {what}: {error.issues}")
        except TooSlow:
            pass
        except Exception as error:  # noqa: BLE001 - any of them is the bug
            found.append(f"seed {seed}: {what}: {type(error).__name__}: {error}"[:1500])
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(folder)
    return found


def test_mutated_calls_raise_issues_with_places(original, tmp_path, monkeypatch, quiet):
    assert refusals(range(FAST), original, tmp_path, monkeypatch) == []
