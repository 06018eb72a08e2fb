"""Help texts, schemas and the reference are up to date with the code: `python docs/generate.py` writes them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_generated_files_are_up_to_date() -> None:
    """In a process of its own: other tests register components, which a schema would show."""
    command = [sys.executable, ROOT / "docs" / "generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), f"run: python docs/generate.py\n{done.stdout}{done.stderr}"


def test_a_change_of_a_help_text_is_seen(tmp_path: Path) -> None:
    file = ROOT / "docs" / "help" / "gramtune.txt"
    assert "Write a sweep:" in file.read_text()
    assert len(list(file.parent.glob("*.txt"))) > 20
