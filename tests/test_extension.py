"""A component needs only one new file: a copy of the package accepts it in YAML and tests it without another edit.

Guards against lists of names: in the package, which make a second edit necessary, and in the contract tests, which then
never see the new component.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sweeps import SPACE, write_space

import gramtune

OBJECTIVE = '''
"""Matches means."""
from typing import Literal
from gramtune.components import Losses, Objective, View
from gramtune.registry import register

@register
class MeanMatch(Objective):
    """‖mean G(z) − mean x‖^power."""
    name: Literal["mean_match"] = "mean_match"
    power: float = 2.0

    def critic(self) -> None:
        return

    def losses(self, real: View, fake: View) -> Losses:
        gap = (fake.samples.mean(dim=-2) - real.samples.mean(dim=-2)).norm(dim=-1)
        return Losses(None, gap**self.power, {"gap": gap})
'''
DATASET = '''
"""Points on a line."""
from pathlib import Path
from typing import Literal
import torch
from torch import Tensor
from gramtune.components import Dataset, Shape
from gramtune.registry import register

@register
class Segment(Dataset):
    """Uniform on [0, 1] × {1}."""
    name: Literal["segment"] = "segment"

    @property
    def shape(self) -> Shape:
        return (2,)

    def fingerprint(self, root: Path) -> str:
        return "segment"

    def train(self, root: Path) -> Tensor:
        return torch.stack((torch.linspace(0, 1, 200), torch.ones(200)), dim=1)

    def held_out(self, root: Path) -> Tensor:
        return torch.stack((torch.linspace(0, 1, 150), torch.ones(150)), dim=1)
'''
METRIC = '''
"""Distance of means."""
from collections.abc import Mapping
from typing import ClassVar, Literal
from torch import Tensor
from gramtune.components import Dataset, Direction, Metric
from gramtune.registry import register

@register
class MeanGap(Metric):
    """‖mean of samples − mean of data‖."""
    extractor: ClassVar[str] = "identity"
    name: Literal["mean_gap"] = "mean_gap"

    @property
    def directions(self) -> Mapping[str, Direction]:
        return {"mean_gap": "min"}

    def reference(self, real: Tensor, data: Dataset) -> dict[str, Tensor]:
        return {"mean": real.double().mean(dim=0)}

    def compute(self, reference: Mapping[str, Tensor], fake: Tensor) -> dict[str, float]:
        return {"mean_gap": (fake.double().mean(dim=0) - reference["mean"]).norm().item()}
'''
NEW = {"objectives/mean_match.py": OBJECTIVE, "data/segment.py": DATASET, "metrics/mean_gap.py": METRIC}
BASE = """\
data: {name: segment}
objective: {name: mean_match}
network: {name: mlp, hidden: [8], critic_hidden: [8]}
optimizer: {name: adam, learning_rate: 1e-2}
training: {batch_size: 16, steps: 6, eval_every: 3, eval_samples: 100}
metrics: [mean_gap]
metric: mean_gap
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package and three files more."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(Path(gramtune.__file__).parent, folder / "gramtune", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in NEW.items():
        (folder / "gramtune" / name).write_text(text, encoding="utf-8")
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with the copy instead of the package."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_sweep_over_three_new_components(extended: Path) -> None:
    space = SPACE.replace("objective.critic_dim: {grid: [1, 4, 16]}", "objective.power: {grid: [1.0, 2.0]}")
    write_space(extended, space, BASE)
    result = python(extended, "-m", "gramtune.cli.main", "sweep", "axis.yaml", "--debug")
    assert result.returncode == 0, result.stderr
    table = pd.read_csv(extended / "runs" / "axis" / "trials.csv")
    assert table["objective.power"].tolist() == [1.0, 2.0]
    assert table["status"].tolist() == ["COMPLETED"] * 2
    assert (table["mean"] > 0).all()
    typo = python(extended, "-m", "gramtune.cli.main", "train", "base/tiny.yaml", "--set", "objective.power=x")
    assert (typo.returncode, len(typo.stderr.splitlines())) == (2, 1), typo.stderr


def test_the_contract_suites_take_them_in(extended: Path) -> None:
    """Collected by name in each suite, and passed: losses, gradients, resume bit for bit, registry, data, metrics."""
    tests = Path(__file__).parent
    suites = ["objectives", "trainer", "data", "metrics", "registry"]
    files = [str(file) for suite in suites for file in tests.rglob(f"test_{suite}.py")]
    chosen = "mean_match or segment or mean_gap"
    quick = ["-m", "pytest", "-p", "no:cacheprovider", "-v", "-k", chosen, "--rootdir", str(tests.parent)]
    result = python(extended, *quick, *files)
    assert result.returncode == 0, result.stdout[-3000:]
    passed = re.findall(r"test_(\w+)\.py::(test_\w+)\[.*(mean_match|segment|mean_gap).*\] PASSED", result.stdout)
    assert {(suite, name) for suite, _, name in passed} >= {
        *((suite, "mean_match") for suite in ("objectives", "trainer", "registry")),
        *((suite, "segment") for suite in ("data", "registry")),
        *((suite, "mean_gap") for suite in ("metrics", "registry")),
    }
    wanted = {"test_resumed_equals_uninterrupted", "test_gradients_do_not_leak"}
    wanted |= {"test_three_steps_are_finite_and_deterministic", "test_losses_do_not_depend_on_the_order_of_samples"}
    assert {test for _, test, name in passed if name == "mean_match"} >= wanted
