"""Imports go down only: the table of the design, checked on every import statement, those in functions included.

Guards against the import that makes `gramtune --help` start Ray, or a loss that cannot be used without a tracker.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import gramtune

ROOT = Path(gramtune.__file__).parent
LEAVES = ("objectives", "networks", "optimizers", "data", "features", "metrics", "pruners")
FOUNDATION = {"errors", "io", "components", "registry", "plugins", "pixels"}
PYDANTIC = {"pydantic", "pydantic_core"}
NUMERIC = {"torch", "torchvision", "numpy", "pytorch_fid", "sklearn", "safetensors", *PYDANTIC}
TRAINING = {*LEAVES, *FOUNDATION, "stats", "training"}
SPACE = {*TRAINING, "space"}
RECORD = {*SPACE, "record"}


class Allowed(NamedTuple):
    """What a layer may import besides itself and the standard library."""

    ours: set[str]
    third_party: set[str]


LAYERS = {
    "stats": Allowed(set(), {"torch"}),
    **dict.fromkeys(FOUNDATION, Allowed({"stats", *FOUNDATION}, NUMERIC)),
    **dict.fromkeys(LEAVES, Allowed({"stats", *FOUNDATION}, NUMERIC)),
    "data": Allowed({"stats", *FOUNDATION}, {"PIL", *NUMERIC}),  # PIL: anyone's image files
    # pydantic: a trial configuration is a component; safetensors: the script that makes the shipped weights.
    # pynvml: the energy of a GPU. filelock (a dependency of torch): caches that several processes fill.
    "training": Allowed(TRAINING, {"torch", "safetensors", "pynvml", "filelock", *PYDANTIC}),
    # A YAML library: PyYAML.
    "space": Allowed(SPACE, {"yaml", "numpy", "scipy", *PYDANTIC}),
    # torch: sample tensors pass through; PIL, safetensors: sample grids and points. pyarrow: object stores.
    "record": Allowed(
        RECORD, {"yaml", "numpy", "scipy", "pandas", "pyarrow", "torch", "PIL", "safetensors", *PYDANTIC}
    ),
    "run": Allowed({*RECORD, "run"}, {"filelock", "numpy", "torch", "PIL", *PYDANTIC}),
    "analysis": Allowed({*RECORD, "analysis"}, {"numpy", "pandas", "scipy", "torch", *PYDANTIC}),
    "report": Allowed({*RECORD, "analysis", "report"}, {"matplotlib", "pandas", "numpy", "jinja2"}),
    # PIL, yaml, sqlalchemy: images, configurations and store errors, as MLflow's own interface takes and raises them.
    # aiohttp, click, jsonschema: what Ray's clients raise.
    "backends": Allowed(
        {*RECORD, "run", "analysis"},
        {"ray", "optuna", "mlflow", "torch", "PIL", "yaml", "sqlalchemy", "aiohttp", "click", "jsonschema", "filelock"}
        | PYDANTIC,
    ),
    "result": Allowed({*RECORD, "analysis", "report"}, {"pandas", "matplotlib"}),
    "notebook": Allowed({*RECORD, "analysis"}, {"IPython"}),
    "api": Allowed({*RECORD, "run", "analysis", "backends", "report", "result", "notebook"}, {"pandas"}),
    "testing": Allowed(TRAINING, {"torch", "pytest"}),
    "__main__": Allowed({"cli"}, set()),
    "cli": Allowed({*RECORD, "run", "analysis", "backends", "report", "api", "result"}, {"typer", "rich", "yaml"}),
}


def imported(source: str, package: str) -> Iterator[str]:
    """Dotted names that the source of a module in `package` imports, at any depth of nesting."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def violations(layer: str, source: str, package: str) -> list[str]:
    """The imports that the table does not allow."""
    allowed = LAYERS[layer]
    found = []
    for name in imported(source, package):
        top, *rest = name.split(".")
        if top == "gramtune":
            legal = not rest or rest[0] in {layer, "__version__"} | allowed.ours  # the package itself is no layer
        else:
            legal = top in sys.stdlib_module_names | allowed.third_party
        found += [] if legal else [name]
    return found


def layer_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0]


FILES = [file for file in sorted(ROOT.rglob("*.py")) if file != ROOT / "__init__.py"]


def test_the_walk_finds_the_package() -> None:
    assert len(FILES) >= 35
    assert {layer_of(file) for file in FILES} >= set(LAYERS) - {"api", "cli", "__main__"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_follow_the_table(file: Path) -> None:
    package = ".".join(("gramtune", *file.relative_to(ROOT).parts[:-1]))
    assert layer_of(file) in LAYERS, f"{file} is in a room that the design does not have"
    assert violations(layer_of(file), file.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize(
    ("layer", "source", "caught"),
    [
        ("stats", "import numpy as np", "numpy"),
        ("stats", "from gramtune.components import View", "gramtune.components.View"),
        ("components", "from gramtune.training.config import TrialConfig", "gramtune.training.config.TrialConfig"),
        ("objectives", "from gramtune.networks.mlp import Mlp", "gramtune.networks.mlp.Mlp"),
        ("objectives", "from gramtune import data", "gramtune.data"),
        ("objectives", "from ..metrics import frechet", "gramtune.metrics.frechet"),
        ("pruners", "from gramtune.record import state", "gramtune.record.state"),
        ("pruners", "def f():\n    import optuna", "optuna"),
        ("training", "def f():\n    import ray", "ray"),
        ("training", "def f():\n    from gramtune.space import plan", "gramtune.space.plan"),
        ("space", "if True:\n    import optuna.samplers", "optuna.samplers"),
        ("record", "from mlflow.tracking import MlflowClient", "mlflow.tracking.MlflowClient"),
        ("report", "from gramtune.backends.ray import runner", "gramtune.backends.ray.runner"),
        ("backends", "from gramtune.report import figures", "gramtune.report.figures"),
        ("cli", "def f():\n    import ray", "ray"),
        ("cli", "import torch", "torch"),
    ],
)
def test_a_forbidden_import_is_caught(layer: str, source: str, caught: str) -> None:
    assert violations(layer, source, f"gramtune.{layer}") == [caught]


def test_an_allowed_import_passes() -> None:
    source = "import os\nfrom . import gan\nfrom gramtune.stats.kernels import gaussian_grams\nimport torch.nn"
    assert violations("objectives", source, "gramtune.objectives") == []


def test_only_the_backends_know_ray_optuna_and_mlflow() -> None:
    knowing = {layer for layer, allowed in LAYERS.items() if allowed.third_party & {"ray", "optuna", "mlflow"}}
    assert knowing == {"backends"}
