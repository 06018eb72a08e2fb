"""What this machine can give to a trial."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch

from gramtune.sweep.faults import Fault, SpecError
from gramtune.sweep.spec import Resources


class Grant(NamedTuple):
    """What each trial gets here, and a line for the user where that is less than was asked for."""

    cpu: int
    gpu: float
    note: str = ""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def grant(resources: Resources) -> Grant:
    """The trial's share on this machine; the GPU part is dropped where there is none.

    Raises SpecError if one trial asks for more than the whole machine.
    """
    gpus = torch.cuda.device_count()
    asked = {"cpu": (resources.cpu, cores()), "gpu": (resources.gpu, gpus)}
    faults = [
        Fault("resources", f"each trial asks for {kind}: {wanted:g}; this machine has {there}")
        for kind, (wanted, there) in asked.items()
        if wanted > there and (kind == "cpu" or gpus)
    ]
    if faults:
        raise SpecError(faults)
    if resources.gpu and not gpus:
        note = f"no GPU here: gpu: {resources.gpu:g} is dropped, each trial runs on {resources.cpu} CPU core(s)"
        return Grant(resources.cpu, 0, note)
    return Grant(resources.cpu, resources.gpu)


def at_once(plan_trials: int, share: Grant, max_concurrent: int | None) -> int:
    """Trials that run at the same time on this machine."""
    limits = [cores() // share.cpu, plan_trials, max_concurrent or plan_trials]
    if share.gpu:
        limits.append(int(torch.cuda.device_count() / share.gpu))
    return max(1, min(limits))


def claim(share: Grant) -> torch.device:
    """Makes this process use its share: torch's threads, and the device to train on."""
    torch.set_num_threads(share.cpu)
    return torch.device("cuda" if share.gpu else "cpu")
