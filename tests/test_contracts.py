"""`pytest -p gramtune.testing FILE` runs the contract tests on a user's own components, and catches broken ones."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[[Path], tuple[int, str]]
EXAMPLE = Path(__file__).parents[1] / "examples" / "moments.py"

pytestmark = pytest.mark.usefixtures("own_registry")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """run(file): exit code and output of pytest in this process; another one imports torch first."""
    monkeypatch.chdir(tmp_path)

    def start(file: Path) -> tuple[int, str]:
        code = pytest.main(["-p", "gramtune.testing", "-p", "no:cacheprovider", "-p", "no:xdist", "-q", file.name])
        return int(code), capsys.readouterr().out

    return start


def test_the_example_fulfils_its_contracts(tmp_path: Path) -> None:
    """As a user runs it."""
    (tmp_path / "moments.py").write_text(EXAMPLE.read_text())
    command = [sys.executable, "-m", "pytest", "-p", "gramtune.testing", "-p", "no:cacheprovider", "-q", "moments.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    code, output = done.returncode, done.stdout + done.stderr
    assert code == 0, output
    assert "11 passed" in output  # 4 of the objective, 4 of the network, 3 of the data set


def test_the_example_of_a_pruner_fulfils_its_contracts(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "close_to_best.py"
    file.write_text((EXAMPLE.parent / "close_to_best.py").read_text())
    assert "2 passed" in run(file)[1]
    file.write_text(file.read_text().replace("min(rung", "-1 + min(rung").replace("+ self.margin", "- self.margin"))
    code, output = run(file)
    assert (code, "the best of 1 is stopped at step 10" in output) == (1, True), output


LOSSES = "return Losses(critic=None, generator=mean"


@pytest.mark.parametrize(
    ("old", "new", "contract"),
    [
        (LOSSES, f"mean = mean * mean.sum().detach()\n        {LOSSES}", "Moments-is_the_same_alone"),
        ("mean + self.weight * covariance", "mean * float('nan')", "Moments-trains"),
        ("manual_seed(seed)", "manual_seed(int(torch.randint(1000, ())))", "Arc-gives_the_same_samples"),
        ("weight: float = 1.0", "weight: float", "give an example for weight"),
    ],
)
def test_a_broken_component_is_caught(old: str, new: str, contract: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "mine.py"
    assert old in EXAMPLE.read_text()
    file.write_text(EXAMPLE.read_text().replace(old, new))
    code, output = run(file)
    assert code == 1, output
    assert contract in output


def test_other_files_are_collected_as_ever(tmp_path: Path, run: Run) -> None:
    (tmp_path / "test_plain.py").write_text("def test_one():\n    assert True\n")
    assert "1 passed" in run(tmp_path / "test_plain.py")[1]
