"""Connects to a running Ray cluster, lists its nodes, and checks before a sweep starts whether it can run there."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from gramtune.backends.ray.quiet import ray
from gramtune.errors import Issue, SpecError
from gramtune.io import remote_runs
from gramtune.record.object_store import Mirror, StoreLost
from gramtune.run.capacity import Capacity, Node
from gramtune.run.cost_estimate import TrialCost, measured, order_of

_REACHABLE = 10.0
"""Seconds to connect to the head."""
_PROBE = 300.0
"""Seconds for a node to start a worker and answer; a new node may import torch from a network disk."""
_BOOTSTRAP = "~/ray_bootstrap_config.yaml"
"""The cluster's file that `ray up` puts on the head; it also lists node types that have no node yet."""
_JOIN = 600.0
"""Seconds for the machines of an on-premises cluster to join; a new machine installs torch first."""
_KUBERAY = "RAY_CLUSTER_NAME"
"""Variable that the KubeRay operator sets in its pods; only Kubernetes knows how many more it may start."""


@contextmanager
def connect_ray(address: str, runs: Path, say: Callable[[str], None]) -> Iterator[Capacity]:
    """Connects to the Ray at `address` (`auto`: the one on this machine) during the block; yields its capacity.

    Waits for machines that `ray up` is still setting up, with a message through `say`. Raises SpecError if the
    connection fails, or if `runs` is not the same folder on all nodes.
    """
    with connected(address):
        _await_machines(say)
        _check_shared(runs)
        yield capacity()


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connects to the Ray at `address` during the block. Raises SpecError if the connection fails."""
    if issue := _unreachable(address):
        raise SpecError([Issue("--address", issue)])
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise SpecError([Issue("--address", f"{address}: {_first_line(error)}")]) from None
    try:
        yield
    finally:
        ray.shutdown()


def alive_nodes() -> list[dict[str, Any]]:
    """Ray's descriptions of the running nodes."""
    return [node for node in ray.nodes() if node["Alive"]]


def capacity() -> Capacity:
    """The nodes of the connected Ray cluster; with an autoscaler, the nodes that it may start."""
    where = f"the Ray at {ray.get_runtime_context().gcs_address}"
    if _KUBERAY in os.environ:
        return Capacity((), where, local=False)
    promised = node_types(_cluster_file())
    return Capacity(promised or tuple(_node(node["Resources"]) for node in alive_nodes()), where, local=False)


def _cluster_file() -> dict[str, Any]:
    """The cluster file with which `ray up` set up this machine; empty if it did not."""
    file = Path(_BOOTSTRAP).expanduser()
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def _await_machines(say: Callable[[str], None]) -> None:
    """Waits until all machines of an on-premises cluster are running, because capacity and folders are then checked."""
    wanted, deadline = machines(_cluster_file()), time.monotonic() + _JOIN
    if (up := len(alive_nodes())) < wanted:
        say(f"waiting for {wanted - up} of {wanted} machines to join, at most {_JOIN / 60:g} minutes")
    while len(alive_nodes()) < wanted and time.monotonic() < deadline:
        time.sleep(1)


def machines(config: dict[str, Any]) -> int:
    """Number of on-premises machines, including the head, in a cluster file of Ray's launcher; 0 for a cloud."""
    provider = config.get("provider", {})
    return 1 + len(provider["worker_ips"]) if "worker_ips" in provider else 0


def node_types(config: dict[str, Any]) -> tuple[Node, ...]:
    """The machines that a cluster file of Ray's launcher may start; empty if it names no resources (on-premises)."""
    nodes = []
    for name, kind in config.get("available_node_types", {}).items():
        most = kind.get("max_workers", config["max_workers"]) + (name == config["head_node_type"])
        nodes.append(replace(_node(kind.get("resources", {})), number=most))
    return tuple(node for node in nodes if node.cpu)


def _node(resources: dict[str, float]) -> Node:
    return Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def measure_there(configs: Any, root: Path, device: str, threads: int, passes: int, copies: int) -> list[TrialCost]:
    """`measure` on a node with a GPU, with the whole GPU; an autoscaler may have to start the node."""
    remote = ray.remote(num_cpus=threads, num_gpus=1, max_retries=0)(measured)
    costs: list[TrialCost] = ray.get(remote.remote(order_of(configs, root, device, threads, passes, copies)))
    return costs


def on_every_node(function: Any, *arguments: Any) -> list[tuple[str, Any]]:
    """The address of each running node with the result of `function(*arguments)` there, or Ray's error.

    The call reserves no CPU, so that a busy cluster answers too.
    """
    refs = []
    for node in alive_nodes():
        there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        remote = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(function)
        refs.append((node["NodeManagerAddress"], remote.remote(*arguments)))
    return [(address, _answer(ref)) for address, ref in refs]


def _answer(ref: Any) -> Any:
    try:
        return ray.get(ref, timeout=_PROBE)
    except ray.exceptions.RayError as error:
        return error


def _unreachable(address: str) -> str:
    """The problem of an address, found without Ray, which would wait long; empty if none is found."""
    if address == "auto":
        return ""
    host, separator, port = address.rpartition(":")
    if "://" in address or not separator or not port.isdecimal():
        return f"{address} should be auto or HOST:PORT of the head; from outside the cluster, use gramtune launch"
    try:
        socket.create_connection((host, int(port)), _REACHABLE).close()
    except (OSError, OverflowError) as error:
        return f"nothing answers at {address}: {error}"
    return ""


def not_shared(runs: Path) -> list[tuple[str, str]]:
    """The address of each node, and why `runs` is not the same folder there; empty if it is.

    A file of the driver must be readable on the node, and one of the node by the driver. Raises SpecError if the driver
    itself cannot write there.
    """
    if uri := remote_runs(runs):
        return _not_reached(uri)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        probe = runs.absolute() / f".shared-{uuid.uuid4().hex}"
        probe.mkdir()
    except OSError as error:
        raise SpecError([Issue("--runs", f"{runs} cannot be written: {error.strerror or error}")]) from None
    try:
        (probe / "driver").write_text(probe.name)
        answers = on_every_node(_leave_mark, str(probe), probe.name)
        return [(node, _why_not_shared(answer, probe)) for node, answer in answers]
    finally:
        for path in probe.iterdir():
            path.unlink()
        probe.rmdir()


def _not_reached(uri: str) -> list[tuple[str, str]]:
    """The same for an object store: driver and nodes must read each other's objects."""
    token = uuid.uuid4().hex
    probe = f".shared-{token}"
    try:
        mirror = Mirror(uri, Path(probe))
        mirror.write("driver", token)
        answers = on_every_node(_leave_object, uri, probe)
        read = [(node, mirror.read(answer) if isinstance(answer, str) else answer) for node, answer in answers]
        mirror.clear()
    except StoreLost as error:
        raise SpecError([Issue("--runs", str(error))]) from None
    return [(node, "" if text == token else f"{uri} is not the driver's ({_why(text)})") for node, text in read]


def _leave_object(uri: str, probe: str) -> str | StoreLost:
    """Runs on a node: copies the driver's object to a new name, which it returns; or returns why it cannot."""
    name = uuid.uuid4().hex
    try:
        mirror = Mirror(uri, Path(probe))
        mirror.write(name, mirror.read("driver"))
    except StoreLost as error:
        return error
    return name


def _why(answer: Any) -> str:
    return _last_line(answer) if isinstance(answer, Exception) else "it has another object with this name"


def _check_shared(runs: Path) -> None:
    """Raises SpecError if the nodes do not share the folder `runs`."""
    rule = "results of a sweep on several nodes need a folder that all of them share (NFS, EFS, Filestore)"
    issues = [Issue("--runs", f"on node {node} {why}: {rule}") for node, why in not_shared(runs) if why]
    if issues:
        raise SpecError(issues)


def _leave_mark(folder: str, token: str) -> str | None:
    """Runs on a node: reads the driver's file and writes one, whose name it returns; None if it cannot read."""
    driver = Path(folder) / "driver"
    try:
        if driver.read_text() != token:
            return None
        mark = driver.with_name(uuid.uuid4().hex)
        mark.write_text(token)
    except OSError:
        return None
    return mark.name


def _why_not_shared(answer: Any, probe: Path) -> str:
    if isinstance(answer, ray.exceptions.RayError):
        return f"gramtune does not run ({_last_line(answer)}; see gramtune doctor)"
    if answer is not None and (probe / answer).is_file():
        return ""
    return f"{probe.parent} is not the driver's"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
