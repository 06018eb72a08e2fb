# ruff: noqa: E501 - tables of hostile values
"""A thousand damaged space and base files: each is a sweep or a list of issues with their places, at once.

Guards against every traceback, hang and wrong line that a file from a text editor can cause.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import HOSTILE, KEYS, METHODS, MUTATIONS, SPACES, TooSlow, enlarge_grid, limited
from sweeps import BASE, SPACE, write_space

from gramtune.errors import SpecError
from gramtune.space.load import Overrides, load_sweep
from gramtune.space.plan import make_plan

BLOCKS, PER_BLOCK = 20, 50

SETTINGS = (
    "training.steps",
    "objective",
    "objective.name",
    "data",
    "data.name",
    "metrics",
    "network.width",
    "a.b",
    *KEYS,
)


def mutant(seed):
    """Damaged contents of a space and of a base file, and what the command line adds."""
    rng = random.Random(seed)
    space, base = rng.choice(SPACES), BASE
    for _ in range(rng.choice([1, 1, 2, 3])):
        mutate = rng.choice(MUTATIONS)
        if rng.random() < 0.6:
            space = mutate(rng, space)
        else:
            base = mutate(rng, base)
    settings = [f"{rng.choice(SETTINGS)}{rng.choice(['=', '=', '=', '', '=='])}{rng.choice(HOSTILE)}"]
    options = Overrides(
        base=rng.choice([None, None, None, "tiny", "nope", "", ".", "base/tiny.yaml", "a\nb"]) if seed % 7 == 0 else None,
        name=rng.choice([None, None, "ü", "a/b", "", "ok"]) if seed % 11 == 0 else None,
        replicates=rng.choice([None, 0, -1, 3, 10**30]) if seed % 13 == 0 else None,
        set=tuple(settings) if seed % 4 == 0 else (),
    )  # fmt: skip
    return space, base, options


def write(folder, space, base):
    """Writes both files, invalid bytes included; returns the space file."""
    path = write_space(folder)
    path.write_bytes(space.encode("utf-8", "surrogateescape"))
    (folder / "base" / "tiny.yaml").write_bytes(base.encode("utf-8", "surrogateescape"))
    return path


def verdict(folder, path, overrides):
    """`fine` or `refused`; AssertionError where an issue breaks the contract. Whatever else is raised goes through."""
    try:
        with limited():
            make_plan(load_sweep(path, overrides), folder / "data")
    except SpecError as error:
        issues = error.issues
    else:
        return "fine"
    assert issues
    for issue in issues:
        check(issue, path)
    return "refused"


def check(issue, path):
    """One line of a bearable length, and a place that exists."""
    text = str(issue)
    assert len(text.splitlines()) == 1, f"not one line: {text!r}"
    assert text.isprintable(), f"not printable: {text!r}"
    assert len(text) < 1000, f"{len(text)} characters: {text[:200]!r} …"
    assert text.encode("utf-8")
    if issue.where.startswith("--"):
        return
    file, _, line = issue.where.rpartition(":")
    if line.isdecimal() and file:
        lines = re.split(b"\r\n?|\n", Path(file).read_bytes())
        assert 1 <= int(line) <= max(1, len(lines) - (lines[-1] == b"")), f"no such line: {text!r}"
    else:  # networks against shapes, files on disk: what no single line is to blame for
        assert issue.where == str(path), f"no such place: {text!r}"


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_damaged_file_is_a_sweep_or_issues_with_places(block, tmp_path, offline):
    seen = set()
    for seed in range(block * PER_BLOCK, (block + 1) * PER_BLOCK):
        space, base, overrides = mutant(seed)
        path = write(tmp_path, space, base)
        try:
            seen.add(verdict(tmp_path, path, overrides))
        except (Exception, TooSlow) as error:  # noqa: BLE001 - any of them is the bug; the files go with it
            text = f"{type(error).__name__}: {error}\n{space[:2000]}\n--- base\n{base[:2000]}\n--- {overrides}"
            pytest.fail(f"seed {seed}: {text}", pytrace=False)  # pytest cannot draw the frames that a signal has cut
    assert seen == {"fine", "refused"}


NASTY = {
    "bomb": (SPACE + "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9) if i else 1}]\n" for i in range(12)), BASE, ()),
    "recursive": (SPACE.replace("grid: [1, 4, 16]", "grid: &g [*g]"), BASE, ()),
    "product": (enlarge_grid(random.Random(1), SPACE.replace("grid: [1, 4, 16]", f"grid: {list(range(1, 1000))}")), BASE, ()),
    "width": (SPACE, BASE.replace("width: 4", "width: 4611686018427387904"), ()),
    "combination": (METHODS.replace(", when: {method: GRAM}", ""), BASE, ()),
    "circle": (METHODS.replace("method: GRAM", "objective.critic_dim: 2"), BASE, ()),
    "binary": ("\x00\x07\x1b[31m" + SPACE, BASE, ()),
    "terminal": (SPACE.replace("about: Does K matter?", '"\\e[31m\\n": 3'), BASE, ()),
    "tag": (SPACE, BASE.replace("steps: 6", "steps: !!bool maybe"), ()),
    "hexadecimal": (SPACE, BASE.replace("steps: 6", "steps: 0x" + "f" * 5000), ()),
    "option": (SPACE, BASE, ("training.steps=" + "[" * 3000, "a\x85b")),
}  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
def test_the_nastiest_are_refused(name, tmp_path):
    space, base, settings = NASTY[name]
    path = write(tmp_path, space, base)
    assert verdict(tmp_path, path, Overrides(set=settings)) == "refused"


def test_the_command_ends_with_lines_and_exit_code_2(tmp_path):
    for name in ("bomb", "width", "combination", "terminal", "option"):
        (tmp_path / name).mkdir()
        space, base, settings = NASTY[name]
        path = write(tmp_path / name, space, base)
        options = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, "-m", "gramtune.cli.main", "validate", path.name, *options]
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (2, ""), (name, done.stderr)
        assert done.stderr, name
        for line in done.stderr.splitlines():
            assert re.match(r"(axis\.yaml|base/tiny\.yaml)(:\d+)?: |--set ", line), (name, line)
            assert line.isprintable(), (name, line)
