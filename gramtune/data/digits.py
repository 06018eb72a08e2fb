"""Scikit-learn's handwritten digits: 1,797 real 8×8 scans, bundled with scikit-learn, no download."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gramtune.components import Dataset, Shape
from gramtune.registry import register

_TRAIN = 1198


@cache
def load_split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and held-out images, uint8 [1198 or 599, 1, 8, 8], then their labels, int64.

    The split is a fixed permutation, one third held out; grey levels 0…16 are mapped to 0…255.
    """
    rows = np.loadtxt(_file(), delimiter=",")
    order = np.random.RandomState(0).permutation(len(rows))
    images = torch.from_numpy(np.rint(rows[order, :-1] * (255 / 16)).astype(np.uint8)).unflatten(1, (1, 8, 8))
    labels = torch.from_numpy(rows[order, -1].astype(np.int64))
    return images[:_TRAIN], images[_TRAIN:], labels[:_TRAIN], labels[_TRAIN:]


def _file() -> Path:
    """The file that `sklearn.datasets.load_digits` reads. Importing scikit-learn would add 2 s to every sweep."""
    spec = find_spec("sklearn")
    assert spec is not None, "a dependency"
    assert spec.origin is not None, "its __init__.py"
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


@register
class Digits(Dataset):
    """1,198 training and 599 held-out digits, 1×8×8."""

    name: Literal["digits"] = "digits"

    @property
    def shape(self) -> Shape:
        """(1, 8, 8)."""
        return (1, 8, 8)

    def fingerprint(self, root: Path) -> str:
        """The data never change; the version is that of the split."""
        return "digits-split1"

    def train(self, root: Path) -> Tensor:
        """uint8 [1198, 1, 8, 8]."""
        return load_split()[0]

    def held_out(self, root: Path) -> Tensor:
        """uint8 [599, 1, 8, 8]."""
        return load_split()[1]
