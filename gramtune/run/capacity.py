"""The resources of machines, and how many trials fit on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gramtune.errors import Issue, SpecError, count
from gramtune.run.machine import cores
from gramtune.space.resources import Resources


@dataclass(frozen=True)
class Node:
    """`number` equal machines."""

    cpu: int
    gpu: int = 0
    number: int = 1


@dataclass(frozen=True)
class Capacity:
    """The machines that a sweep can use."""

    nodes: tuple[Node, ...]
    """No known machines: an autoscaler is assumed to start what is requested."""
    where: str = "this machine"
    """The name of the machines in messages."""
    local: bool = True
    """Whether the sweep uses only this machine."""


@dataclass(frozen=True)
class Grant:
    """The resources of each trial, and a line for the user if that is less than requested."""

    cpu: int
    gpu: float
    note: str = ""


def here() -> Capacity:
    """This machine, as this process may use it."""
    return Capacity((Node(cores(), torch.cuda.device_count()),))


def grant(resources: Resources, capacity: Capacity) -> Grant:
    """The share of each trial. Without a GPU on any node, the GPU part is ignored, unless the sweep requires one.

    Raises SpecError if no node can hold one trial, because the sweep would wait forever.
    """
    share = Grant(resources.cpu, resources.share)
    none = bool(capacity.nodes) and not any(node.gpu for node in capacity.nodes)
    if share.gpu and none and not resources.gpu_required:
        place = "here" if capacity.local else f"at {capacity.where}"
        note = f"no GPU {place}: gpu: {share.gpu:g} is ignored, each trial runs on {count(share.cpu, 'CPU core')}"
        share = Grant(share.cpu, 0, note)
    if capacity.nodes and not any(_fitting(node, share) for node in capacity.nodes):
        raise SpecError([Issue("resources", message) for message in _shortages(share, capacity)])
    return share


def at_once(plan_trials: int, share: Grant, capacity: Capacity, max_concurrent: int | None) -> int:
    """Trials that run at the same time."""
    limits = [plan_trials, max_concurrent or plan_trials]
    if capacity.nodes:
        limits.append(sum(node.number * _fitting(node, share) for node in capacity.nodes))
    return max(1, min(limits))


def claim(share: Grant) -> torch.device:
    """Sets torch's number of threads for this process, and returns the device to train on."""
    torch.set_num_threads(share.cpu)
    return torch.device("cuda" if share.gpu else "cpu")


@contextmanager
def claimed(share: Grant) -> Iterator[torch.device]:
    """`claim` within the block; restores the number of threads afterwards, for notebooks."""
    threads = torch.get_num_threads()
    try:
        yield claim(share)
    finally:
        torch.set_num_threads(threads)


def _fitting(node: Node, share: Grant) -> int:
    """Trials that fit on one machine. A share must fit on one GPU: halves of two GPUs cannot be combined."""
    by_cpu = node.cpu // share.cpu
    if not share.gpu:
        return by_cpu
    by_gpu = node.gpu * int(1 / share.gpu + 1e-9) if share.gpu <= 1 else node.gpu // int(share.gpu)
    return min(by_cpu, by_gpu)


def _shortages(share: Grant, capacity: Capacity) -> list[str]:
    asked = {"cpu": share.cpu, "gpu": share.gpu}
    most = {"cpu": max(node.cpu for node in capacity.nodes), "gpu": max(node.gpu for node in capacity.nodes)}
    short = [kind for kind in asked if asked[kind] > most[kind]]
    holder = capacity.where if capacity.local else f"the largest node of {capacity.where}"
    messages = [f"each trial asks for {kind}: {asked[kind]:g}; {holder} has {most[kind]}" for kind in short]
    both = f"each trial asks for cpu: {share.cpu} and gpu: {share.gpu:g}; no node of {capacity.where} has both"
    return messages or [both]
