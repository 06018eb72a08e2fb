"""The wheel and the source distribution contain what the commands need; shipped files are found from any folder."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gramtune.errors import SpecError
from gramtune.space.load import load_config, load_sweep

ROOT = Path(__file__).parents[1]
NOT_SOURCE = shutil.ignore_patterns(".*", "runs", "build", "dist", "*.egg-info", "__pycache__", "site")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def built(kind: str, source: Path, target: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(target)],
        cwd=source, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built from the source distribution: so that has everything too."""
    folder = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT, folder / "checkout", ignore=NOT_SOURCE)
    sdist = built("sdist", folder / "checkout", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    assert (source / "constraints.txt").is_file()
    assert (source / "tests" / "test_packaging.py").is_file()
    return built("wheel", source, folder)


def test_the_wheel_has_every_file_of_the_package_and_the_search_spaces(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    kinds = {".py", ".yaml", ".json", ".safetensors", ".html", ".css", ".js", ".typed", ".txt"}
    package = [path for path in (ROOT / "gramtune").rglob("*") if path.suffix in kinds or path.name == "py.typed"]
    shipped = [path for path in (ROOT / "search_spaces").rglob("*") if path.suffix in kinds]
    assert len(package) > 150
    assert len(shipped) > 15
    wanted = {path.relative_to(ROOT).as_posix() for path in package}
    wanted |= {f"gramtune/{path.relative_to(ROOT).as_posix()}" for path in shipped}
    assert wanted - names == set()
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "search_spaces/"))]


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command of the wheel in the empty directory `tmp_path`/empty."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:  # what pip does with a wheel that has no data folder
        archive.extractall(site)

    def gramtune(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gramtune", *words]
        env = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True, check=False)

    return gramtune


def test_from_the_wheel_a_shipped_space_is_found_by_name_in_an_empty_directory(installed) -> None:
    done = installed("validate", "critic_dim", "--base", "ring")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "critic_dim: 10 trials × 3 replicates, metric energy_distance: no issue\n"


@pytest.mark.slow
def test_from_the_wheel_a_shipped_space_runs(installed, tmp_path: Path) -> None:
    settings = [
        word for pair in ("steps=2", "eval_every=2", "eval_samples=10") for word in ("--set", f"training.{pair}")
    ]
    done = installed("sweep", "critic_dim", "--debug", "--replicates", "1", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "empty" / "runs" / "critic-dim" / "report.html").is_file()


def test_a_file_of_ones_own_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_sweep("critic_dim").name == "critic-dim"
    assert load_config("digits").data.name == "digits"
    Path("mine.yaml").write_text("name: mine\nbase: digits\nspace: {objective.critic_dim: {grid: [1, 2]}}\n")
    assert load_sweep("mine.yaml").base["training"]["steps"] == 1500
    Path("base").mkdir()
    shipped = load_config("digits")
    Path("base/digits.yaml").write_text(
        (ROOT / "search_spaces/base/digits.yaml").read_text().replace("steps: 1500", "steps: 600")
    )
    assert shipped.training.steps == 1500
    assert load_sweep("mine.yaml").base["training"]["steps"] == 600
    with pytest.raises(
        SpecError,
        match=r"'critic_dm' does not exist; .*did you mean 'critic_dim'\? shipped with gramtune: architecture",
    ):
        load_sweep("critic_dm")
