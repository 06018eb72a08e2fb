"""Small configurations that train quickly, and a machine without network."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import fast_tier
import pytest
import torch

from gramtune import registry
from gramtune.backends.mlflow import store
from gramtune.components import Component, Network, Objective
from gramtune.registry import classes
from gramtune.training.config import TrialConfig
from gramtune.training.networks import build_networks

REQUIRED: dict[str, Any] = {
    "critic_dim": 3,
    "bandwidths": [0.5, 2.0],
    "path": "pictures",
    "size": 8,
    "learning_rate": 1e-3,
}
"""Values for fields that have no default, by field name."""
SMALL: dict[str, dict[str, Any]] = {
    "cramer_gan": {"critic_iterations": 1, "critic_dim": 3},
    "dcgan": {"noise_dim": 4, "width": 4},
    "f_gan": {"critic_iterations": 1},
    "full_conv": {"noise_dim": 4, "width": 4},
    "mlp": {"noise_dim": 3, "hidden": [8, 8], "critic_hidden": [8, 8]},
    "gcmmd": {"critic_iterations": 1},
    "mmd_gan": {"critic_iterations": 1, "boosted_critic_iterations": 2, "boosted_steps": 1, "boost_every": 5},
    "mmd_gan_gp": {"critic_iterations": 1, "critic_dim": 3},
    "mnist_conv": {"noise_dim": 3, "hidden": [8, 8], "critic_channels": [4, 4, 4]},
    "resnet": {"noise_dim": 4, "width": 4},
    "ring": {"n_train": 500, "n_held_out": 300},
    "sinkhorn": {"iterations": 10},
    "smmd_gan": {"critic_iterations": 1},
    "sobolev_gan": {"critic_iterations": 1},
    "swgan": {"critic_iterations": 1},
    "wgan": {
        "weight_clamp": 0.1,
        "critic_iterations": 1,
        "boosted_critic_iterations": 2,
        "boosted_steps": 1,
        "boost_every": 5,
    },
    "wgan_gp": {"critic_iterations": 1},
}
"""Sizes that make a component cheap, by its name."""

Settings = dict[str, Any]
_create_store = store.ensure_store


def pytest_configure() -> None:
    torch.set_num_threads(1)  # two threads on a busy machine wait for each other
    # A shell without job control starts background processes with SIGINT ignored, and every child inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the fast tests, before `-m` selects; see tests/helpers/fast_tier.py."""
    for item in fast_tier.fast(items):
        item.add_marker("fast")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Where the fast tier alone runs, a test that is not fast fails, so that the tier stays what it says."""
    began = time.process_time()
    yield
    taken = time.process_time() - began
    if item.config.getoption("-m") == "fast" and taken > fast_tier.LIMIT:
        pytest.fail(f"{taken:.0f} s of CPU are too many for a fast test: name what is expensive in fast_tier.EXPENSIVE")


@pytest.fixture
def small() -> Callable[[type[Component], str], Settings]:
    """small(kind, name): the configuration of any registered component, as small as it goes."""
    return _small


@pytest.fixture
def ring_config() -> Settings:
    """A complete trial on a ring of eight Gaussians: two replicates of a tiny MLP pair."""
    return {
        "data": {"name": "ring", **SMALL["ring"]},
        "objective": {"name": "gram", "critic_dim": 3, "bandwidths": [1.0]},
        "network": {"name": "mlp", **SMALL["mlp"]},
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "training": {
            "batch_size": 16,
            "steps": 8,
            "eval_every": 4,
            "eval_samples": 100,
            "replicates": 2,
            "seed": 5,
        },
        "metrics": ["sliced_wasserstein"],
        "metric": "sliced_wasserstein",
    }


@pytest.fixture
def digits_config(ring_config: Settings) -> Settings:
    """A complete trial on scikit-learn's digits: two replicates of a tiny DCGAN pair, with BatchNorm."""
    return ring_config | {
        "data": {"name": "digits"},
        "objective": {"name": "gram", "critic_dim": 3, "bandwidths": [1, 4]},
        "network": {"name": "dcgan", **SMALL["dcgan"]},
        "metrics": ["fid_digits"],
        "metric": "fid_digits",
    }


@pytest.fixture
def fitting(ring_config: Settings, digits_config: Settings) -> Callable[..., TrialConfig | None]:
    """fitting(objective, network=None): a small trial of that pair; None if the network cannot serve the objective."""

    def find(objective: str, network: str | None = None) -> TrialConfig | None:
        for candidate in [network] if network else classes(Network):
            norms = (
                ({"norm": "none"},) if objective == "wgan" else ({}, {"norm": "none"})
            )  # BatchNorm of a mean: no slope
            for base, norm in product((digits_config, ring_config), norms):
                if norm and "norm" not in classes(Network)[candidate].model_fields:
                    continue
                settings = {"objective": _small(Objective, objective), "network": _small(Network, candidate) | norm}
                config = TrialConfig.model_validate(base | settings)
                try:
                    build_networks(config, config.data.shape)
                except ValueError:
                    continue
                return config
        return None

    return find


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    """Components that the test registers, plug-ins too, are not known to the next test."""
    with registry.restored():
        yield


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every download fails at once: the proxy is a port on which nobody listens."""
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        for name in (variable, variable.upper()):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    urllib.request.install_opener(None)  # urllib keeps the proxies of its first request
    yield
    urllib.request.install_opener(None)


@pytest.fixture
def gramtune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """gramtune(*arguments): the command in this process and in `tmp_path`; exit code, output, errors."""
    from gramtune.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gramtune", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        return (int(exit_.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def _ray_auth_mode() -> Iterator[None]:
    """A command on cluster/local.yaml sets it for its process; the next test's Ray would ask for a token."""
    before = os.environ.get("RAY_AUTH_MODE")
    yield
    if before is None:
        os.environ.pop("RAY_AUTH_MODE", None)
    else:
        os.environ["RAY_AUTH_MODE"] = before


@pytest.fixture(autouse=True)
def _copied_stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process a new SQLite store of MLflow is a copy of one that MLflow's migrations made: they take 2 s."""
    create = store.ensure_store

    def copied(uri: str) -> None:
        file = store.database_file(uri)
        if file is not None and not file.exists():
            template = request.getfixturevalue("migrated")
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(template, file)
        create(uri)

    monkeypatch.setattr(store, "ensure_store", copied)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow store, made once: copying it is a hundred times faster than making another."""
    folder = tmp_path_factory.mktemp("store")
    _create_store(store.default_uri(folder))
    return folder / ".mlflow" / "mlflow.db"


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user whom file permissions bind, which they do not bind root; the test runs as that user."""
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)  # nobody
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    finally:
        if superuser:
            os.seteuid(0)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray for the whole test session; starting it costs seconds."""
    from gramtune.backends.ray.quiet import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def _small(kind: type[Component], name: str) -> Settings:
    fields = classes(kind)[name].model_fields
    required = {key: REQUIRED[key] for key, field in fields.items() if field.is_required()}
    return {"name": name, **required, **SMALL.get(name, {})}
