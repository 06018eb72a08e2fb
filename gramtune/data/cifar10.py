"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 held-out natural images, 3×32×32."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from gramtune.components import Dataset, Shape, Unavailable
from gramtune.registry import register

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"


@register
class Cifar10(Dataset):
    """The official training and test split."""

    name: Literal["cifar10"] = "cifar10"

    @property
    def shape(self) -> Shape:
        """(3, 32, 32)."""
        return (3, 32, 32)

    def fingerprint(self, root: Path) -> str:
        """Constant: the reader verifies the checksums of the official files."""
        return "cifar10"

    def check(self, root: Path) -> None:
        """Finds or downloads the files and verifies their checksums."""
        from torchvision.datasets import CIFAR10  # 1.5 s

        try:
            root.mkdir(parents=True, exist_ok=True)
            CIFAR10(root, download=True)  # verifies what is there first
        except (OSError, RuntimeError) as error:
            reason = str(getattr(error, "reason", error)).splitlines()[0]
            raise Unavailable(
                f"data set cifar10 is not on disk, or is damaged, and cannot be downloaded ({reason}): "
                f"unpack {URL} so that {root / FOLDER} exists"
            ) from error

    def train_size(self, root: Path) -> int:
        """Fixed by the published files; none is read."""
        return 50_000

    def held_out_size(self, root: Path) -> int:
        """Fixed by the published files; none is read."""
        return 10_000

    def train(self, root: Path) -> Tensor:
        """uint8 [50000, 3, 32, 32]."""
        return _read(root, train=True)

    def held_out(self, root: Path) -> Tensor:
        """uint8 [10000, 3, 32, 32]."""
        return _read(root, train=False)


def _read(root: Path, *, train: bool) -> Tensor:
    from torchvision.datasets import CIFAR10

    try:
        images = CIFAR10(root, train=train).data  # uint8 [N, 32, 32, 3]
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"data set cifar10 under {root / FOLDER}: {error}") from error
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
