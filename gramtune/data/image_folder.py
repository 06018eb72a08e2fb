"""The user's own images, read from a folder."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from gramtune.components import Dataset, Shape, Unavailable
from gramtune.data._image_files import Parts, cached, decode, listing
from gramtune.io import user_path
from gramtune.registry import register

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@register
class ImageFolder(Dataset):
    """Every image below a folder, resized and centre-cropped, split by a hash of its name.

    Files with another suffix, hidden files and hidden folders are ignored; links to folders are followed. The images
    are decoded once and cached under the data root.
    """

    name: Literal["image_folder"] = "image_folder"
    path: Annotated[str, Field(min_length=1)]
    """The folder: absolute, beginning with `~`, or relative to the data root. Any nesting."""
    size: Annotated[int, Field(ge=4)]
    """Height and width after the shorter side is resized to it and the longer one cropped."""
    grey: bool = False
    """One channel instead of three."""
    held_out_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Expected share of held-out images. A file stays on its side when others are added or removed."""
    allow_copies: bool = False
    """Accept training images with the same pixels as a held-out image. By default an error names them."""

    @property
    def shape(self) -> Shape:
        """(3 or 1, size, size)."""
        return (1 if self.grey else 3, self.size, self.size)

    def fingerprint(self, root: Path) -> str:
        """All fields, and names, sizes and modification times of the files."""
        return self._fingerprint(root, self._names(root))

    def check(self, root: Path) -> None:
        """Decodes the images, unless they are cached."""
        self._parts(root)

    def train(self, root: Path) -> Tensor:
        """uint8 [N, *shape], in the order of the names."""
        return self._parts(root)[0]

    def held_out(self, root: Path) -> Tensor:
        """uint8 [M, *shape], in the order of the names."""
        return self._parts(root)[1]

    def is_held_out(self, name: str) -> bool:
        """Whether a file is held out; `name` is its path relative to the folder, with forward slashes."""
        portable = unicodedata.normalize("NFC", name).encode(
            errors="surrogateescape"
        )  # file systems use different Unicode forms
        return int.from_bytes(hashlib.sha256(portable).digest()[:8]) < self.held_out_share * 2**64

    def _folder(self, root: Path) -> Path:
        return root / user_path(self.path)  # an absolute path replaces `root`

    def _names(self, root: Path) -> list[str]:
        """Relative paths of the images, sorted. Raises Unavailable if either side of the split would be empty."""
        folder = self._folder(root)
        if not folder.is_dir():
            raise Unavailable(f"data set image_folder: {folder} is not a folder")
        names = sorted(
            file.relative_to(folder).as_posix() for file in _files(folder) if file.suffix.lower() in SUFFIXES
        )
        held_out = sum(map(self.is_held_out, names))
        if min(held_out, len(names) - held_out) < 2:
            raise Unavailable(
                f"data set image_folder: {folder} holds {len(names)} images ({', '.join(SUFFIXES)}), "
                f"{held_out} of them on the held-out side; each side needs 2 or more"
            )
        return names

    def _fingerprint(self, root: Path, names: list[str]) -> str:
        digest = hashlib.sha256(self.model_dump_json().encode())
        for name in names:
            try:
                status = (self._folder(root) / name).stat()
            except OSError as error:  # a link to nowhere
                raise Unavailable(f"data set image_folder: {error}") from error
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
        return f"image_folder-{digest.hexdigest()[:16]}"

    def _parts(self, root: Path) -> Parts:
        names = self._names(root)
        return cached(root, self._fingerprint(root, names), lambda: self._decode(root, names))

    def _decode(self, root: Path, names: list[str]) -> Parts:
        images = decode(self._folder(root), names, self.size, self.shape[0])
        held_out = torch.tensor([self.is_held_out(name) for name in names])
        if not self.allow_copies:
            self._refuse_copies(images, held_out, names, root)
        return images[~held_out], images[held_out]

    def _refuse_copies(self, images: Tensor, held_out: Tensor, names: list[str], root: Path) -> None:
        """Raises Unavailable if a training image and a held-out image have equal pixels."""
        digests = [hashlib.sha256(image.numpy()).digest() for image in images]
        first = {d: name for d, name, out in zip(digests, names, held_out.tolist(), strict=True) if out}
        copies = [
            f"{name} = {first[d]}"
            for d, name, out in zip(digests, names, held_out.tolist(), strict=True)
            if not out and d in first
        ]
        if copies:
            raise Unavailable(
                f"data set image_folder: {len(copies)} training images under {self._folder(root)} equal held-out ones "
                f"at {self.size} × {self.size} pixels: {listing(copies)}; remove one of each, or set allow_copies: true"
            )


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder; follows links to folders and skips hidden files and folders.

    A link to one of its own parent folders is not followed.
    """
    above: dict[str, frozenset[tuple[int, int]]] = {}
    for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(parent)
        own = (status.st_dev, status.st_ino)
        before = above.get(os.path.dirname(parent), frozenset()) if parent != str(folder) else frozenset()
        if own in before:
            folders.clear()
            continue
        above[parent] = before | {own}
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, file) for file in files if not file.startswith("."))


def _refuse(error: OSError) -> None:
    """Raises Unavailable; otherwise unreadable subfolders would be skipped silently, which changes the data set."""
    raise Unavailable(f"data set image_folder: {error.filename} cannot be read ({error.strerror})") from error
