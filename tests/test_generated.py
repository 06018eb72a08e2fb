"""Help texts, schemas and the reference are up to date with the code: `python docs/generate.py` writes them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_generated_files_are_up_to_date() -> None:
    """In a process of its own: other tests register components, which a schema would show."""
    command = [sys.executable, ROOT / "docs" / "generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), f"run: python docs/generate.py\n{done.stdout}{done.stderr}"


def test_a_changed_text_and_a_removed_command_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "TERM", "GRAMTUNE_RUNS", "GRAMTUNE_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "as before the import")  # which changes these
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    changed = Path("docs/help/gramtune.txt")
    monkeypatch.setattr(generate, "generated", lambda: iter([(changed, "another text")]))
    found = dict(generate.stale())
    assert found.pop(changed) == "another text"
    others = {file.relative_to(ROOT) for file in (ROOT / "docs" / "help").glob("*.txt")} - {changed}
    assert len(others) > 20
    assert found == dict.fromkeys(others)
