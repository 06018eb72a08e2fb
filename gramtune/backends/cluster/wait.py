"""`python -m gramtune.backends.cluster.wait HOST:PORT N`: waits until that Ray has N nodes; for batch scripts."""

from __future__ import annotations

import sys
import time

from gramtune.backends.ray.quiet import ray

_PATIENCE = 600.0
"""Seconds to wait for nodes to join."""


def wait_for_nodes(address: str, n: int) -> int:
    """Waits for n nodes; returns the number of running nodes."""
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        deadline = time.monotonic() + _PATIENCE
        while (up := len([n for n in ray.nodes() if n["Alive"]])) < n and time.monotonic() < deadline:
            time.sleep(1)
        return up
    finally:
        ray.shutdown()


if __name__ == "__main__":
    there, wanted = wait_for_nodes(sys.argv[1], int(sys.argv[2])), int(sys.argv[2])
    if there < wanted:
        sys.exit(f"only {there} of {wanted} nodes have joined Ray within {_PATIENCE:g} s")
