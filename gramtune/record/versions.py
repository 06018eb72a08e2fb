"""Collects the versions that a sweep runs with: machine, packages, source commit, data and feature weights."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gramtune
from gramtune.io import data_root
from gramtune.record.provenance import code_digest, source
from gramtune.space.plan import Plan, sampled
from gramtune.training.real_data import statistics_digest

_SAMPLE = 256
"""Number of sampled configurations that are checked for their data and feature weights."""
_PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pytorch-fid", "safetensors", "pydantic"),
    *("pyyaml", "pandas", "pyarrow", "pillow", "ray", "optuna", "cmaes", "mlflow", "matplotlib"),
)


def versions(plan: Plan) -> dict[str, Any]:
    """Versions and fingerprints of everything that can change the numbers of these trials; None for absent items.

    Package versions come from metadata; nothing is imported.
    """
    configs = [trial.config for trial in plan.trials or sampled(plan.sweep, _SAMPLE)]
    data = {config.data.model_dump_json(): config.data for config in configs}
    return {
        "gramtune": gramtune.__version__,
        "source": source(),
        "code": code_digest(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "gpus": _gpus(),
        "packages": package_versions(),
        "data": sorted({dataset.fingerprint(data_root()) for dataset in data.values()}),
        "plugins": {plugin.name: plugin.digest for plugin in plan.sweep.plugins},
        "references": {
            metric.name: f"{metric.against} {digest}"
            for config in configs
            for metric in config.metrics
            if (digest := statistics_digest(metric, data_root()))
        },
        "extractors": {n: extractor.fingerprint for config in configs for n, extractor in config.extractors.items()},
    }


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that the numbers depend on; None for one that is not installed."""
    return {name: _version(name) for name in _PACKAGES}


def changed_since(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The changes from `then` to `now` that may change numbers, one text each."""
    pairs = {key: (then.get(key), now[key]) for key in ("gramtune", "python", "cpu", "gpus", "data", "extractors")}
    pairs["references"] = (then.get("references", {}), now["references"])
    pairs["plugins"] = (then.get("plugins", {}), now["plugins"])
    packages = then.get("packages", {})
    pairs |= {name: (packages.get(name), version) for name, version in now["packages"].items()}
    items = [f"{name} {_text(old)} → {_text(new)}" for name, (old, new) in pairs.items() if old != new]
    if then.get("code") != now["code"]:
        commits = f"{_commit_text(then.get('source'))} → {_commit_text(now['source'])}"
        items.insert(0, f"gramtune's code (commit {commits})")
    return items


def _commit_text(source: Mapping[str, Any] | None) -> str:
    return f"{source['commit'][:12]}{' with edits' if source['dirty'] else ''}" if source else "unknown"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "none")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name from Linux, else from Python."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    import torch  # its metadata does not list the devices

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
