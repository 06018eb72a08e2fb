"""Checks for `gramtune doctor`: the state of a machine, and its differences from the driver's machine."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from gramtune.errors import count
from gramtune.record.provenance import code_digest
from gramtune.record.versions import package_versions
from gramtune.run.machine import cores, free_memory, memory_limit

_MPS = "/tmp/nvidia-mps"
"""Default pipe folder of CUDA's Multi-Process Service; $CUDA_MPS_PIPE_DIRECTORY overrides it."""
_SKEW = 2.0
"""Tolerated clock error in seconds: less than any trial takes, more than NTP leaves."""


@dataclass(frozen=True)
class NodeCheck:
    """One check on one machine."""

    node: str
    subject: str
    text: str
    remedy: str = ""
    """What to do; empty if the check passed."""


@dataclass(frozen=True)
class Machine:
    """The state of one machine."""

    host: str
    cores: int
    """CPU cores that a process may use."""
    free_memory: int
    memory_limit: int | None
    """Bytes that a process may use; None if only the machine's memory limits it."""
    gpus: tuple[str, ...]
    """GPU names, from torch."""
    mps: bool
    """Whether CUDA's Multi-Process Service runs."""
    versions: Mapping[str, str | None]
    """Versions of Python and packages."""
    code: str
    """Digest of gramtune's modules, because two checkouts of one version may differ."""
    data: tuple[str, ...]
    """Entries of the data folder with their sizes."""


def inspect(root: str) -> Machine:
    """The state of this machine; `root` is the data folder."""
    return Machine(
        host=socket.gethostname(),
        cores=cores(),
        free_memory=free_memory(),
        memory_limit=memory_limit(),
        gpus=tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())),
        mps=mps_runs(),
        versions={"python": platform.python_version(), **package_versions()},
        code=code_digest(),
        data=tuple(_entries(Path(root))),
    )


def mps_runs() -> bool:
    """Whether CUDA's Multi-Process Service runs here. With it processes share a GPU; without it they take turns."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or _MPS) / "control").exists()


def node_checks(node: str, machine: Machine, driver: Machine, promised_gpus: float) -> Iterator[NodeCheck]:
    """The state of a node, compared with the driver's machine and with Ray's description of the node."""
    yield _limits(node, machine)
    yield _versions(node, machine, driver)
    if machine.code != driver.code:
        text = "gramtune's modules differ from the driver's"
        yield NodeCheck(node, "code", text, "install the same checkout on all nodes")
    yield _gpus(node, machine, promised_gpus)
    if missing := sorted(set(driver.data) - set(machine.data)):
        text = f"misses {', '.join(missing[:5])} of the driver's data folder"
        yield NodeCheck(
            node, "data", text, "put the data folder on the shared disk ($GRAMTUNE_DATA), or copy it to this node"
        )
    else:
        yield NodeCheck(node, "data", f"{len(machine.data)} entries in the data folder, as on the driver")


def clock(node: str, sent: float, there: float, received: float) -> NodeCheck:
    """Compares a node's clock with the driver's. All times in seconds.

    `there`: the node's time. `sent`, `received`: the driver's times before and after reading it.
    """
    ahead, behind = there - received, sent - there
    if max(ahead, behind) <= _SKEW:
        return NodeCheck(node, "clock", f"as the driver's, within {received - sent + _SKEW:.0f} s")
    text = f"{max(ahead, behind):.0f} s {'ahead of' if ahead > behind else 'behind'} the driver's"
    return NodeCheck(node, "clock", text, "run an NTP client there, such as chrony: timestamps are not comparable")


def _limits(node: str, machine: Machine) -> NodeCheck:
    limit = f", limited to {machine.memory_limit / 2**30:.3g} GiB" if machine.memory_limit else ""
    text = (
        f"{count(machine.cores, 'CPU core')} for a process, {machine.free_memory / 2**30:.3g} GiB of memory free{limit}"
    )
    return NodeCheck(node, "limits", text)


def _versions(node: str, machine: Machine, driver: Machine) -> NodeCheck:
    different = [
        f"{name} {machine.versions.get(name) or 'missing'}, on the driver {version or 'missing'}"
        for name, version in driver.versions.items()
        if machine.versions.get(name) != version
    ]
    if different:
        return NodeCheck(node, "versions", "; ".join(different), "pip install -c constraints.txt . on all nodes")
    return NodeCheck(node, "versions", f"{len(machine.versions)} packages as on the driver")


def _gpus(node: str, machine: Machine, promised: float) -> NodeCheck:
    seen = len(machine.gpus)
    names = ", ".join(dict.fromkeys(machine.gpus))
    if seen < promised:
        text = f"Ray promises {promised:g}, torch sees {seen}"
        return NodeCheck(node, "gpu", text, "install NVIDIA's driver and a CUDA build of torch there, then restart Ray")
    if seen > promised:
        text = f"torch sees {seen} ({names}), Ray offers {promised:g}"
        return NodeCheck(node, "gpu", text, f"start Ray there with --num-gpus={seen}; otherwise they are not used")
    shared = "; MPS runs: trials that share a GPU run at the same time" if machine.mps else ""
    return NodeCheck(node, "gpu", f"{seen} ({names}){shared}" if seen else "none")


def _entries(root: Path) -> Iterator[str]:
    if root.is_dir():
        for path in sorted(root.iterdir()):
            yield f"{path.name} ({path.stat().st_size} bytes)" if path.is_file() else f"{path.name}/"
