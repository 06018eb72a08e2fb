"""README's recipes run without changes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sweeps import BASE, SPACE
from typer.testing import CliRunner

from gramtune.cli.main import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _checkout(tmp_path, monkeypatch):
    (tmp_path / "search_spaces").symlink_to(ROOT / "search_spaces")
    monkeypatch.chdir(tmp_path)


def test_the_recipe_for_two_metrics_is_a_legal_sweep():
    (space,) = [block for block in blocks("yaml") if "nsga2" in block]
    Path("front.yaml").write_text(space)
    command = re.search(r"`gramtune sweep front.yaml --set '([^']*)'`", README)
    assert command
    result = CliRunner().invoke(app, ["validate", "front.yaml", "--set", command[1]])
    assert result.exit_code == 0, result.exception
    assert "20 trials" in result.output
    without = CliRunner().invoke(app, ["validate", "front.yaml"])
    assert "training_seconds" in str(without.exception), "the base computes it by now: README can be shorter"


@pytest.mark.slow
def test_the_python_snippet_runs_after_the_first_command(tmp_path):
    (snippet,) = [block for block in blocks("python") if "run_sweep" in block]
    (tmp_path / "search_spaces").unlink()
    (tmp_path / "search_spaces" / "base").mkdir(parents=True)
    (tmp_path / "search_spaces" / "base" / "tiny.yaml").write_text(BASE)
    (tmp_path / "search_spaces" / "critic_dim.yaml").write_text(SPACE.replace("[1, 4, 16]", "[1, 4]"))
    command = [sys.executable, "-m", "gramtune", "sweep", "search_spaces/critic_dim.yaml", "--debug"]
    subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "snippet.py").write_text(f"{snippet}\nprint(len(result.trials), 'trials')\n")
    done = subprocess.run([sys.executable, "snippet.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("2 trials\n"), done.stderr
