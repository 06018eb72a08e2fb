"""CelebA (Liu et al. 2015): 162,770 training and 19,962 held-out faces, aligned, cropped and resized to 3×64×64."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor

from gramtune.components import Dataset, Shape, Unavailable
from gramtune.data._image_files import Parts, cached, decode
from gramtune.registry import register

URL = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
FOLDER = "celeba"
IMAGES = "img_align_celeba"
SIZE = 64
_KEY = "celeba-64-crop1"


@register
class CelebA(Dataset):
    """The official partition. Models are compared with its test part, or chosen on its validation part.

    The shorter side (178 of 178×218) is resized to 64 and the longer one centre-cropped. All images are decoded once
    and cached under the data root (2.2 GB); after that the original files are no longer needed.
    """

    name: Literal["celeba"] = "celeba"
    select_on: Literal["test", "validation"] = "test"
    """The part that a sweep compares with. `validation` (19,867 faces) keeps the test part for `gramtune evaluate`: on
    the samples used for the choice, the winner's value is biased."""

    @property
    def shape(self) -> Shape:
        """(3, 64, 64)."""
        return (3, SIZE, SIZE)

    def fingerprint(self, root: Path) -> str:
        """The reader verifies the checksums of the official lists, so only the version of the cropping can change."""
        return _KEY if self.select_on == "test" else f"{_KEY}-validation"

    @property
    def held_out_name(self) -> str:
        """`held-out` if the test part is used, else `validation`."""
        return "held-out" if self.select_on == "test" else "validation"

    def for_report(self) -> CelebA:
        """The data set with the test part."""
        return self.model_copy(update={"select_on": "test"})

    def check(self, root: Path) -> None:
        """Decodes and caches the images.

        Raises Unavailable if files are missing: gramtune cannot download them, because Google Drive refuses most
        programs.
        """
        self._parts(root)
        self.held_out(root)

    def train_size(self, root: Path) -> int:
        """Fixed by the published files; none is read."""
        return 162_770

    def held_out_size(self, root: Path) -> int:
        """Fixed by the published files; none is read."""
        return 19_962 if self.select_on == "test" else 19_867

    def train(self, root: Path) -> Tensor:
        """uint8 [162770, 3, 64, 64]."""
        return self._parts(root)[0]

    def held_out(self, root: Path) -> Tensor:
        """uint8 [19962, 3, 64, 64], or [19867, 3, 64, 64] of the validation part."""
        if self.select_on == "validation":
            return cached(root, self.fingerprint(root), lambda: (_decode(root, "valid"),) * 2)[0]
        return self._parts(root)[1]

    def _parts(self, root: Path) -> Parts:
        return cached(root, _KEY, lambda: (_decode(root, "train"), _decode(root, "test")))


def _decode(root: Path, split: str) -> Tensor:
    from torchvision.datasets import CelebA as Files  # 1.5 s

    try:
        names = Files(root, split=split).filename
    except (OSError, RuntimeError) as error:
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise Unavailable(
            f"data set celeba is not on disk, or is damaged{reason}: download the five annotation files "
            f"(`list_….txt`, `identity_CelebA.txt`) and {IMAGES}.zip from {URL}, unpack the zip, and put all of them "
            f"into {root / FOLDER}"
        ) from error
    return decode(root / FOLDER / IMAGES, names, SIZE, channels=3)
