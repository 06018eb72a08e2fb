"""`gramtune doctor`: finds problems of a cluster before a sweep starts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gramtune.backends.mlflow.store import checked_uri, connect, translated
from gramtune.errors import SpecError
from gramtune.io import data_root
from gramtune.record.redaction import redact
from gramtune.record.tracker import TrackerUnavailable
from gramtune.run.inspection import Machine, NodeCheck, clock, inspect, node_checks


def examine(address: str | None, runs: Path, tracking_uri: str | None) -> Iterator[NodeCheck]:
    """Findings about this machine, or about every node of the Ray cluster at `address`. Raises SpecError."""
    driver = inspect(str(data_root()))
    if address is None:
        yield from node_checks("here", driver, driver, len(driver.gpus))
    else:
        yield from _nodes(address, runs, driver)
    yield _tracking(tracking_uri)


def _nodes(address: str, runs: Path, driver: Machine) -> Iterator[NodeCheck]:
    from gramtune.backends.ray.quiet import ray
    from gramtune.backends.ray.session import alive_nodes, connected, not_shared, on_every_node

    with connected(address):
        gpus = {node["NodeManagerAddress"]: node["Resources"].get("GPU", 0) for node in alive_nodes()}
        for node, machine in on_every_node(inspect, str(data_root())):
            if isinstance(machine, Exception):
                text = str(machine).strip().splitlines()[-1]
                yield NodeCheck(
                    node, "gramtune", f"cannot run on this node: {text}", "install the driver's version on this node"
                )
            else:
                yield from node_checks(node, machine, driver, gpus[node])
        yield from _clocks(on_every_node, ray)
        issues = {node: issue for node, issue in not_shared(runs) if issue}
        for node in gpus:
            issue = issues.get(node, "")
            good = f"{runs}: driver and node read each other's files"
            remedy = "mount one folder on all nodes at the same path, and pass it as --runs" if issue else ""
            yield NodeCheck(node, "storage", issue or good, remedy)


def _clocks(on_every_node: Any, ray: Any) -> Iterator[NodeCheck]:
    """Compares the clocks of all nodes. The workers already run, so the readings take little time."""
    sent = time.time()
    for node, there in on_every_node(time.time):
        if not isinstance(there, ray.exceptions.RayError):
            yield clock(node, sent, there, time.time())


def _tracking(uri: str | None) -> NodeCheck:
    if uri is None:
        return NodeCheck("driver", "tracking", "SQLite in the folder of sweeps; the first sweep creates it")
    try:
        with translated(uri):
            connect(checked_uri(uri)).search_experiments(max_results=1)
    except (SpecError, TrackerUnavailable) as error:
        return NodeCheck(
            "driver", "tracking", str(error), "start the server, or name another store with --tracking-uri"
        )
    return NodeCheck("driver", "tracking", f"{redact(uri, uri)} answers")
