"""What a sweep ran with: machine, packages, source commit, data and feature weights."""

from __future__ import annotations

import filecmp
import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import gramtune
from gramtune.paths import data_root
from gramtune.sweep.plan import Plan, sampled

_SAMPLE = 256
"""Configurations of a sweep that samples which are asked for their data and feature weights."""
_PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pytorch-fid", "safetensors", "pydantic"),
    *("pyyaml", "pandas", "pyarrow", "pillow", "ray", "optuna", "mlflow", "matplotlib"),
)


def versions(plan: Plan) -> dict[str, Any]:
    """Versions and fingerprints of everything that can change the numbers of these trials; None for what is absent.

    Packages are looked up in their metadata, so nothing is imported for it.
    """
    configs = [trial.config for trial in plan.trials or sampled(plan.sweep, _SAMPLE)]
    data = {config.data.model_dump_json(): config.data for config in configs}
    return {
        "gramtune": gramtune.__version__,
        "source": source(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "gpus": _gpus(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "data": sorted({dataset.fingerprint(data_root()) for dataset in data.values()}),
        "extractors": {n: extractor.fingerprint for config in configs for n, extractor in config.extractors.items()},
    }


def source() -> dict[str, Any] | None:
    """The git commit that this package comes from, and whether the code that runs differs from it (`dirty`).

    None where that is unknown: the package is in no checkout, and pip did not note one when it installed it.
    """
    here = Path(gramtune.__file__).parent
    if (commit := _commit(here)) is not None:
        return {"commit": commit, "dirty": _changed(here)}
    installed = _install_record()
    if "vcs_info" in installed:
        return {"commit": installed["vcs_info"]["commit_id"], "dirty": False}
    there = Path(url2pathname(urlsplit(installed.get("url", "")).path)) / here.name
    if "dir_info" in installed and (commit := _commit(there)) is not None:
        return {"commit": commit, "dirty": _changed(there) or not _same_code(here, there)}
    return None


def _commit(package: Path) -> str | None:
    """HEAD of the checkout in which the package's folder is tracked."""
    if not package.is_dir() or _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(package, "rev-parse", "HEAD")


def _changed(package: Path) -> bool:
    return _git(package, "status", "--porcelain", "--", ".") != ""


def _same_code(here: Path, there: Path) -> bool:
    """Whether both folders hold the same modules: an installed copy does not follow its checkout."""
    ours, theirs = ({path.relative_to(root) for path in root.rglob("*.py")} for root in (here, there))
    return ours == theirs and all(filecmp.cmp(here / path, there / path, shallow=False) for path in ours)


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says there; None if it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _install_record() -> dict[str, Any]:
    """Where pip installed the package from (PEP 610); empty for a release from an index."""
    try:
        text = distribution("gramtune").read_text("direct_url.json")
    except PackageNotFoundError:
        return {}
    record: dict[str, Any] = json.loads(text) if text else {}
    return record


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name as Linux tells it, else as Python does."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    import torch  # its metadata does not tell which devices there are

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
