"""Saves and restores the state of an optimizer per replicate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Row = list[dict[str, Tensor]]
"""The optimizer state of one replicate, for each network: moments [P], step counts []."""


def row(optimizer: torch.optim.Optimizer, i: int, replicates: int) -> Row:
    """Moments and step counts of replicate i; empty before the first step."""
    parameters = optimizer.param_groups[0]["params"][i::replicates]
    return [{name: value.clone() for name, value in optimizer.state[parameter].items()} for parameter in parameters]


def load_rows(optimizer: torch.optim.Optimizer, rows: Sequence[Row]) -> None:
    """Restores the moments and step counts of all replicates, but keeps the hyperparameters of `optimizer`.

    Otherwise a restored learning rate would undo a change of the configuration.
    Raises ValueError for another number of networks.
    """
    count, r = len(optimizer.param_groups[0]["params"]), len(rows)
    if any(len(each) * r != count for each in rows):
        raise ValueError(f"the checkpoint's optimiser steps {len(rows[0])} networks, this one {count // r}")
    state = {k * r + i: each[k] for i, each in enumerate(rows) for k in range(len(each)) if each[k]}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of the next steps. A tensor keeps its address, which a recorded CUDA graph reads."""
    group = optimizer.param_groups[0]
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
