"""README and docs: links lead to files, commands and options exist, snippets run, variables are in the table."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from gramtune.cli.main import app
from gramtune.space.load import load_sweep

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = get_command(app).commands
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(gramtune [a-z][^`\n]*)`")


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def command_lines(page: Path) -> list[str]:
    """What a reader would type: lines of shell blocks, and inline code that begins with gramtune."""
    text = page.read_text()
    lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    found = [line.partition(" #")[0].removeprefix("$ ") for line in lines if "gramtune" in line]
    parts = [part.strip() for line in found for part in re.split(r"&&|;|\|", line)]
    return [part for part in [*parts, *INLINE.findall(BLOCK.sub("", text))] if part.startswith("gramtune ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    for line in command_lines(page):
        _, name, *words = shlex.split(line.replace("…", ""))
        if name.startswith("-"):
            continue
        assert name in COMMANDS, line
        known = {
            option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        if name == "launch":
            known |= {option for parameter in COMMANDS["sweep"].params for option in parameter.opts}
        given = [word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)]
        assert [option for option in given if option not in {*known, "--help"}] == [], line


def test_the_commands_of_the_readme_are_found() -> None:
    assert len(command_lines(ROOT / "README.md")) > 10


def test_the_space_files_of_the_readme_are_legal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    annotated, methods, *others = blocks(ROOT / "README.md", "yaml")
    Path("one.yaml").write_text(annotated)
    assert load_sweep("one.yaml").name == "critic-dim"
    Path("two.yaml").write_text(f"name: two\nbase: digits\n{methods}")
    assert len(load_sweep("two.yaml").space) == 2
    whole = [text for text in others if text.startswith("name:")]
    assert whole
    Path("front.yaml").write_text(whole[0])
    metrics = ("fid_digits", "training_seconds")
    assert load_sweep("front.yaml", set={"metrics": list(metrics)}).metric == metrics


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    snippets = blocks(ROOT / "README.md", "python")
    assert len(snippets) == 1
    command = [sys.executable, "-c", "\n".join(snippets)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "tiny" / "report.html").is_file()


def test_every_page_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text()))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - linked == {"index.md"}


def test_every_environment_variable_is_in_the_table() -> None:
    table = (ROOT / "docs" / "environment.md").read_text()
    source = "\n".join(path.read_text() for path in (ROOT / "gramtune").rglob("*.py"))
    ours = {"GRAMTUNE_ON_END", "GRAMTUNE_RAY_HEAD"}  # what one process of gramtune tells another
    names = set(re.findall(r"""["'](GRAMTUNE_[A-Z_]+)["']""", source)) - ours
    assert {"GRAMTUNE_DATA", "GRAMTUNE_RUNS"} <= names
    assert [name for name in sorted(names) if f"`{name}`" not in table] == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert "run_sweep" in (tmp_path / "site" / "api" / "index.html").read_text()
