"""Data sets: their contract, the embedded ones exactly, CIFAR-10 through files in its real format."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.datasets import CIFAR10

from gramtune.components import Component, Dataset, Unavailable
from gramtune.data.cifar10 import FOLDER, URL, Cifar10
from gramtune.data.digits import Digits, load_split
from gramtune.data.ring import Ring
from gramtune.registry import classes

NAMES = list(classes(Dataset))
EMBEDDED = {"digits", "ring"}
Small = Callable[[type[Component], str], dict[str, Any]]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str, small: Small, tmp_path: Path) -> None:
    """Without files and network: the tensors that are promised, or one line that says where files belong."""
    dataset = classes(Dataset)[name].model_validate(small(Dataset, name))
    if name not in EMBEDDED:
        with pytest.raises(Unavailable) as caught:
            dataset.check(tmp_path)
        assert len(str(caught.value).splitlines()) == 1
        assert str(tmp_path) in str(caught.value)
        return
    dataset.check(tmp_path)
    train, held_out = dataset.train(tmp_path), dataset.held_out(tmp_path)
    for part in (train, held_out):
        assert part.shape[1:] == dataset.shape
        assert part.dtype == (torch.uint8 if len(dataset.shape) == 3 else torch.float32)
        assert len(part) >= 100
    assert torch.equal(train, dataset.train(tmp_path)), "the training set changes between calls"
    assert torch.equal(held_out, dataset.held_out(tmp_path)), "the held-out set changes between calls"
    assert dataset.fingerprint


def digest(*tensors: Tensor) -> str:
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()[:16]


def test_digits_split_is_fixed() -> None:
    """Every FID on digits depends on these bytes; if they must change, so must the fingerprint."""
    assert (Digits().fingerprint, digest(*load_split())) == ("digits-split1", "1319974c9194a131")


def test_digits_split_is_a_partition() -> None:
    from sklearn.datasets import load_digits

    train, held_out, train_labels, held_out_labels = load_split()
    assert (train.shape, held_out.shape) == ((1198, 1, 8, 8), (599, 1, 8, 8))
    original = load_digits()
    whole = np.rint(original.images.reshape(-1, 64) * (255 / 16)).astype(np.uint8).tolist()
    rows = torch.cat((train, held_out)).flatten(1).tolist()
    labels = torch.cat((train_labels, held_out_labels)).tolist()
    expected = sorted((*row, label) for row, label in zip(whole, original.target.tolist(), strict=True))
    assert sorted((*row, label) for row, label in zip(rows, labels, strict=True)) == expected


def test_digits_use_the_whole_grey_scale() -> None:
    train = Digits().train(Path("unused"))
    assert (train.min().item(), train.max().item(), len(train.unique())) == (0, 255, 17)


def test_ring_parts_share_no_point() -> None:
    ring = Ring(n_train=500, n_held_out=300)
    train, held_out = (
        {tuple(point) for point in part(Path("unused")).tolist()} for part in (ring.train, ring.held_out)
    )
    assert (len(train), len(held_out)) == (500, 300)
    assert not train & held_out


def test_ring_is_an_equal_mixture_with_the_stated_spread() -> None:
    ring = Ring(modes=5, radius=3.0, std=0.05, n_train=5000)
    points, centres = ring.train(Path("unused")), ring.centres()
    assert centres.norm(dim=1).tolist() == pytest.approx([3.0] * 5)
    assert torch.cdist(centres, centres).add(torch.eye(5) * 9).amin(dim=1).tolist() == pytest.approx(
        [2 * 3.0 * np.sin(np.pi / 5)] * 5
    )
    distance, mode = torch.cdist(points.double(), centres.double()).min(dim=1)
    assert torch.bincount(mode, minlength=5).tolist() == pytest.approx([1000] * 5, rel=0.15)
    assert distance.square().mean().sqrt().item() == pytest.approx(0.05 * 2**0.5, rel=0.05)


def test_ring_fingerprint_names_every_field() -> None:
    changed = {"modes": 9, "radius": 2.0, "std": 0.02, "n_train": 51, "n_held_out": 52}
    assert set(changed) == set(Ring.model_fields) - {"name"}
    prints = {Ring().fingerprint, *(Ring.model_validate({key: value}).fingerprint for key, value in changed.items())}
    assert len(prints) == 6


def test_ring_does_not_use_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    Ring(n_train=10).train(Path("unused"))
    assert torch.equal(torch.random.get_rng_state(), before)


# CIFAR-10


@pytest.fixture
def cifar_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images in the official layout, their checksums told to torchvision."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    rng = np.random.RandomState(0)

    def write(name: str, content: dict[str, Any]) -> list[str]:
        data = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(name: str) -> list[str]:
        pixels = rng.randint(0, 256, (2, 3072)).astype(np.uint8)
        return write(name, {"data": pixels, "labels": [0, 1], "batch_label": name, "filenames": ["a", "b"]})

    monkeypatch.setattr(CIFAR10, "train_list", [batch(f"data_batch_{i}") for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch")])
    name, checksum = write("batches.meta", {"label_names": ["plane", "car"], "num_vis": 3072})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": checksum})
    return tmp_path


@pytest.mark.usefixtures("offline")
def test_cifar10_reads_the_official_files(cifar_root: Path) -> None:
    Cifar10().check(cifar_root)
    train, held_out = Cifar10().train(cifar_root), Cifar10().held_out(cifar_root)
    assert (train.shape, held_out.shape) == ((10, 3, 32, 32), (2, 3, 32, 32))
    assert train.dtype == held_out.dtype == torch.uint8
    assert train.is_contiguous()
    for part, name, index in ((train, "data_batch_2", 2), (held_out, "test_batch", 0)):
        stored = pickle.loads((cifar_root / FOLDER / name).read_bytes())["data"][0]  # 1024 red, green, blue
        assert part[index].flatten().tolist() == stored.tolist()


def assert_says_where_to_put_it(error: Unavailable, root: Path) -> None:
    assert len(str(error).splitlines()) == 1
    assert str(root / FOLDER) in str(error)
    assert URL in str(error)


@pytest.mark.usefixtures("offline")
def test_missing_cifar10_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cifar10 is not on disk") as caught:
        Cifar10().check(tmp_path / "new folder, ünïcode")
    assert_says_where_to_put_it(caught.value, tmp_path / "new folder, ünïcode")


@pytest.mark.usefixtures("offline")
def test_damaged_cifar10_is_found_before_training(cifar_root: Path) -> None:
    file = cifar_root / FOLDER / "data_batch_3"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(Unavailable, match="damaged") as caught:
        Cifar10().check(cifar_root)
    assert_says_where_to_put_it(caught.value, cifar_root)


def test_reading_without_a_check_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cifar10"):
        Cifar10().train(tmp_path)
