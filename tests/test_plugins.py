"""A component in one file outside the package trains through Ray, resumes elsewhere, and gives one line per error."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from gramtune.errors import SpecError
from gramtune.space.load import Overrides, load_sweep

Command = Callable[..., tuple[int, str, str]]
EXAMPLES = Path(__file__).parents[1] / "examples"
COMMAND = [sys.executable, "-m", "gramtune"]
QUICK = ("--set", "training.steps=6", "--set", "training.eval_every=3", "--set", "training.eval_samples=50")


pytestmark = pytest.mark.usefixtures("own_registry")


def in_a_process(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)


def values(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "results.parquet")[["trial", "replicate", "step", "metric", "value"]]
    return frame.sort_values(["trial", "replicate", "step"]).reset_index(drop=True)


def example(folder: Path) -> Path:
    for name in ("moments.py", "moments.yaml"):
        shutil.copy(EXAMPLES / name, folder)
    return folder / "moments.yaml"


def test_the_example_trains_through_ray_and_goes_on_where_the_file_is_not(tmp_path: Path, gramtune: Command) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    space = example(here)
    done = in_a_process("sweep", space, *QUICK, cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    debug = gramtune("sweep", space, *QUICK, "--debug", "--name", "debug", "--runs", here / "runs")
    assert debug[0] == 0, debug
    pd.testing.assert_frame_equal(values(here / "runs/moments"), values(here / "runs/debug"))
    digest = json.loads((here / "runs/moments/versions.json").read_text())["plugins"]["moments.py"]
    assert len(digest) == 64

    shutil.move(here / "runs/moments", there / "moments")
    shutil.rmtree(here)
    for words in (("report", "moments"), ("sample", "moments", "--out", "x.safetensors"), ("evaluate", "moments")):
        done = in_a_process(*words, cwd=there)
        assert done.returncode == 0, done.stdout + done.stderr
    done = in_a_process("resume", "moments", "--replicates", 4, "--debug", cwd=there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(values(there / "moments").replicate) == {0, 1, 2, 3}


@pytest.mark.slow
def test_a_pruner_outside_the_package_stops_trials(tmp_path: Path) -> None:
    """Its code goes with the sweep: the run resumes, and knows whom it stopped, where the file is not."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    for name in ("close_to_best.py", "close_to_best.yaml"):
        shutil.copy(EXAMPLES / name, here)
    short = [f"training.{text}" for text in ("steps=200", "eval_every=100", "eval_samples=200")]
    words = [word for setting in short for word in ("--set", setting)]
    done = in_a_process("sweep", "close_to_best.yaml", *words, "--max-concurrent", 1, cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.move(here / "runs/close-to-best", there / "moved")
    shutil.rmtree(here)
    done = in_a_process("resume", "moved", "--replicates", 4, "--debug", cwd=there)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = pd.read_csv(there / "moved/trials.csv")
    assert list(trials["status"]) == ["COMPLETED", "PRUNED", "PRUNED"]
    assert trials["reason"][1].startswith("close_to_best at step 100: energy_distance 0.")
    assert list(trials["n"]) == [4, 3, 3]


def test_train_and_sample_take_a_plug_in(tmp_path: Path, gramtune: Command) -> None:
    example(tmp_path)
    base = (tmp_path / "moments.yaml").read_text().split("base:\n")[1].split("space:")[0]
    (tmp_path / "base.yaml").write_text("\n".join(line.removeprefix("  ") for line in base.splitlines()))
    assert gramtune("train", "base.yaml", *QUICK)[0] == 2
    done = in_a_process(
        "train", "base.yaml", *QUICK, "--plugin", "moments.py", cwd=tmp_path
    )  # it records what is loaded
    assert done.returncode == 0, done.stdout + done.stderr
    sampled = in_a_process("sample", "runs/train-base", "--out", "x.safetensors", cwd=tmp_path)
    assert sampled.returncode == 0, sampled.stdout + sampled.stderr


GAN = """from typing import Literal
from gramtune.objectives.gan import Gan
from gramtune.registry import register

@register
class Mine(Gan):
    name: Literal["NAME"] = "NAME"
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("import nothing_of_that_name\n", r"cannot be imported: ModuleNotFoundError: .* \(mine.py:1\)"),
        ("x = 1\n\nx +\n", r"cannot be imported: SyntaxError: .* \(mine.py:3\)"),
        ("def f():\n    raise KeyError('a')\n\nf()\n", r"cannot be imported: KeyError: 'a' \(mine.py:2\)"),
        ("x = 1\n", "registers no component; decorate a component with gramtune.registry.register"),
        (
            GAN.replace("NAME", "gan"),
            r"cannot be imported: ValueError: Objective 'gan' is already gramtune.objectives.gan.Gan \(mine.py:5\)",
        ),
    ],
)
def test_a_plug_in_that_is_wrong_is_one_line(text: str | None, message: str, tmp_path: Path) -> None:
    space = example(tmp_path)
    space.write_text(space.read_text().replace("[moments.py]", "[moments.py, mine.py]"))
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(SpecError, match=rf"^{space}:4: plug-in mine.py {message}$"):
        load_sweep(space)


def test_an_edited_plug_in_replaces_itself(tmp_path: Path) -> None:
    space = example(tmp_path)
    first = load_sweep(space)
    file = tmp_path / "moments.py"
    file.write_text(file.read_text().replace("weight: float = 1.0", "weight: float = 2.0"))
    again = load_sweep(space)
    assert first.plugins != again.plugins
    assert again.config({}).objective.model_dump() == {"name": "moments", "weight": 2.0}


def test_plugin_option_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = example(tmp_path)
    space.write_text(space.read_text().replace("plugins: [moments.py]\n", ""))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(tmp_path / "moments.py", elsewhere / "moments.py")
    monkeypatch.chdir(elsewhere)
    assert load_sweep(space, Overrides(plugins=("moments.py",))).plugins[0].name == "moments.py"
    with pytest.raises(SpecError, match=r"^--plugin gone.py: plug-in gone.py cannot be read"):
        load_sweep(space, Overrides(plugins=("gone.py",)))


def test_a_failed_trial_names_the_line_of_the_plug_in(tmp_path: Path) -> None:
    space = example(tmp_path)
    file = tmp_path / "moments.py"
    line = "        covariance = ("
    number = 1 + file.read_text().split(line)[0].count("\n")
    file.write_text(file.read_text().replace(line, "        assert self.weight < 5, 'too heavy'; covariance = ("))
    done = in_a_process("sweep", space, *QUICK, "--debug", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert f'File "moments.py", line {number}' in done.stderr
    assert "AssertionError: too heavy" in done.stderr
    assert "in trial weight=" in done.stderr
    assert "AssertionError ends the sweep; resume with: gramtune resume runs/moments" in done.stdout
    assert "FAILED" not in set(pd.read_csv(tmp_path / "runs/moments/trials.csv")["status"])
    done = in_a_process("resume", "runs/moments", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    trials = pd.read_csv(tmp_path / "runs/moments/trials.csv")
    (failed,) = trials[trials["status"] == "FAILED"].itertuples()
    assert failed.reason == (
        f"AssertionError: too heavy at moments.py:{number}; traceback: trials/{failed.trial}/error.txt"
    )
    assert (
        f'File "moments.py", line {number}'
        in (tmp_path / "runs/moments/trials" / failed.trial / "error.txt").read_text()
    )
