"""MNIST (LeCun et al. 1998): 60,000 training and 10,000 held-out handwritten digits, 1×28×28."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor

from gramtune.components import Dataset, Shape, Unavailable
from gramtune.registry import register

URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = "{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz"
FOLDER = "MNIST/raw"


@register
class Mnist(Dataset):
    """The official training and test split."""

    name: Literal["mnist"] = "mnist"

    @property
    def shape(self) -> Shape:
        """(1, 28, 28)."""
        return (1, 28, 28)

    def fingerprint(self, root: Path) -> str:
        """Constant: the reader verifies the checksums of the official archives when it unpacks them."""
        return "mnist"

    def check(self, root: Path) -> None:
        """Finds, unpacks or downloads the files and reads both: torchvision verifies archives, not unpacked files."""
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unavailable(root, error) from error
        for train in (True, False):
            _read(root, train=train, download=True)

    def train_size(self, root: Path) -> int:
        """Fixed by the published files; none is read."""
        return 60_000

    def held_out_size(self, root: Path) -> int:
        """Fixed by the published files; none is read."""
        return 10_000

    def train(self, root: Path) -> Tensor:
        """uint8 [60000, 1, 28, 28]."""
        return _read(root, train=True)

    def held_out(self, root: Path) -> Tensor:
        """uint8 [10000, 1, 28, 28]."""
        return _read(root, train=False)


def _read(root: Path, *, train: bool, download: bool = False) -> Tensor:
    from torchvision.datasets import MNIST  # 1.5 s

    try:
        images: Tensor = MNIST(root, train=train, download=download).data  # uint8 [N, 28, 28]
        return images.view(-1, 1, 28, 28)
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        AssertionError,
    ) as error:  # torchvision's errors for bad files
        raise _unavailable(root, error) from error


def _unavailable(root: Path, error: Exception) -> Unavailable:
    reason = next(iter(str(getattr(error, "reason", error)).splitlines()), "no idx file").rstrip(":")
    return Unavailable(
        f"data set mnist under {root / FOLDER} is missing or damaged ({reason}): put {URL}{FILES} there, "
        "and nothing else"
    )
