"""The features of FID: pool3 of the TensorFlow Inception network, from pytorch-fid."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gramtune.components import FeatureExtractor, Shape, Unavailable, kind_of
from gramtune.io import write_atomically
from gramtune.registry import register

WEIGHTS_FILE = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{WEIGHTS_FILE}"
SHA256_PREFIX = "6726825d"
_BATCH = 32
"""Images per forward pass. One image of 299×299 has activations of 6 MB in a single layer."""
ENV = "GRAMTUNE_INCEPTION"
"""Environment variable with the path of the weight file, whose checksum is then not checked."""


class InceptionFeatures(FeatureExtractor):
    """Base of the extractors that use the Inception network. Grey images are repeated to three channels."""

    layer_dim: ClassVar[int]
    """Feature dimension."""

    @property
    def fingerprint(self) -> str:
        """Name of the official weights, or the content of the file that the environment variable names."""
        override = os.environ.get(ENV)
        return f"{self.name}-{SHA256_PREFIX if not override else _sha256(Path(override))[:16]}"

    def dim(self, shape: Shape) -> int:
        """`layer_dim`. Raises ValueError for point sets and for images below 28 pixels."""
        if kind_of(shape) != "image" or shape[0] not in (1, 3) or min(shape[1:]) < 28:
            raise ValueError(
                f"feature extractor {self.name} reads images of 1 or 3 channels and at least 28 pixels, "
                f"not samples of shape {'×'.join(map(str, shape))}"
            )
        return self.layer_dim

    def check(self, root: Path) -> None:
        """Finds or downloads the weights. Raises Unavailable, with the right path, if they are missing or damaged."""
        read_weights(root)


@register
class Inception(InceptionFeatures):
    """2048 pool3 features of natural images."""

    layer_dim: ClassVar[int] = 2048
    name: Literal["inception"] = "inception"

    def load(self, root: Path, device: torch.device) -> nn.Module:
        """pytorch-fid's pool3 network, frozen."""
        return Pool3(read_weights(root)).eval().requires_grad_(False).to(device)


class Pool3(nn.Module):
    """[B, 1 or 3, H, W] in [−1, 1] → [B, 2048]; pytorch-fid resizes and normalises.

    BatchNorm is folded into the convolutions, and tensors are channels-last: 1.5 times as fast on a CPU
    (`benchmarks/features.py`), with features equal up to float32's rounding.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        from pytorch_fid import inception  # imports torchvision: 1.5 s

        fetch = inception.load_state_dict_from_url
        inception.load_state_dict_from_url = lambda *_args, **_kwargs: state  # it takes no path, only a URL
        try:
            network = inception.InceptionV3((inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048],))
        finally:
            inception.load_state_dict_from_url = fetch
        self.network = _folded(network.eval()).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return torch.cat([self._features(part) for part in images.split(_BATCH)])

    def _features(self, images: Tensor) -> Tensor:
        unit = (images + 1) / 2
        rgb = unit.expand(-1, 3, -1, -1) if unit.shape[1] == 1 else unit
        features: Tensor = self.network(rgb.contiguous(memory_format=torch.channels_last))[0]
        return features.flatten(1)


def _folded(network: nn.Module) -> nn.Module:
    """Moves each BatchNorm's scale and shift into the convolution before it: y = γ (Wx − μ)/σ + β."""
    from torchvision.models.inception import BasicConv2d

    for block in network.modules():
        if isinstance(block, BasicConv2d):
            block.conv = fuse_conv_bn_eval(block.conv, block.bn)
            block.bn = nn.Identity()
    return network


def read_weights(root: Path) -> dict[str, Tensor]:
    """The state dict in the weight file. Raises Unavailable if it is missing, damaged or of another network."""
    path = weights_path(root)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise Unavailable(f"Inception weights: {path} is damaged or no weight file; {_remedy(path)}") from error
    last = state.get("fc.weight") if isinstance(state, dict) else None
    if not isinstance(last, Tensor) or last.shape != (1008, 2048):  # torchvision's own Inception has 1000 classes
        raise Unavailable(f"Inception weights: {path} holds the weights of another network; {_remedy(path)}")
    return dict(state)


def weights_path(root: Path) -> Path:
    """The weight file: $GRAMTUNE_INCEPTION, else under `root`, else downloaded there once and checksummed.

    Raises Unavailable if it is missing and cannot be downloaded, or if the one under `root` is not the official file.
    """
    if override := os.environ.get(ENV):
        if not Path(override).is_file():
            raise Unavailable(
                f"Inception weights: ${ENV} names {override}, which is not a file; {_remedy(root / WEIGHTS_FILE)}"
            )
        return Path(override)
    path = root / WEIGHTS_FILE
    if not path.is_file():
        _download(path)
    try:
        digest = _sha256(path)
    except OSError as error:
        raise Unavailable(f"Inception weights: {path} cannot be read ({error.strerror})") from error
    if not digest.startswith(SHA256_PREFIX):
        raise Unavailable(f"Inception weights: {path} is damaged (SHA-256 must begin with {SHA256_PREFIX}); delete it")
    return path


def _download(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: urllib.request.urlretrieve(URL, temporary))
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise Unavailable(
            f"Inception weights are not on disk and cannot be downloaded ({reason}): {_remedy(path)}, "
            f"or set ${ENV} to your copy of it"
        ) from error


def _remedy(path: Path) -> str:
    return f"download {URL} and save it as {path}"


@cache
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
