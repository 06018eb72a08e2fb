"""Data sets: their contract, the embedded ones exactly, and CIFAR-10 from files in its real format."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import cifar_files
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from torchvision.datasets import CIFAR10, MNIST
from torchvision.datasets import CelebA as CelebAFiles

from gramtune.components import Component, Dataset, Shape, Unavailable
from gramtune.data import celeba, mnist
from gramtune.data.celeba import CelebA
from gramtune.data.cifar10 import FOLDER, URL, Cifar10
from gramtune.data.digits import Digits, load_split
from gramtune.data.gaussian import Gaussian
from gramtune.data.image_folder import ImageFolder
from gramtune.data.mnist import Mnist
from gramtune.data.ring import Ring
from gramtune.registry import classes
from gramtune.space.plan import issues_of
from gramtune.training.config import TrialConfig

NAMES = list(classes(Dataset))
ON_DISK = {"celeba", "cifar10", "image_folder", "mnist"}
"""Those that need files; every other one makes its samples itself."""
Small = Callable[[type[Component], str], dict[str, Any]]
Settings = dict[str, Any]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str, small: Small, tmp_path: Path) -> None:
    """Without files and network: the tensors that are promised, or one line that says where files belong."""
    dataset = classes(Dataset)[name].model_validate(small(Dataset, name))
    if name in ON_DISK:
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
        assert dataset.kind == ("image" if part.dtype == torch.uint8 else "points")
        assert len(part) >= 100
    assert torch.equal(train, dataset.train(tmp_path)), "the training set changes between calls"
    assert torch.equal(held_out, dataset.held_out(tmp_path)), "the held-out set changes between calls"
    assert dataset.fingerprint(tmp_path) == dataset.fingerprint(tmp_path) != ""
    assert (mixture := dataset.mixture()) is None or mixture.centres.shape[1:] == dataset.shape


def digest(*tensors: Tensor) -> str:
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()[:16]


def test_digits_split_is_fixed() -> None:
    """Every FID on digits depends on these bytes; if they must change, so must the fingerprint."""
    assert (Digits().fingerprint(Path("unused")), digest(*load_split())) == ("digits-split1", "1319974c9194a131")


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


COVARIANCE = {"covariance": [[2, 1], [1, 2]]}


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


@pytest.mark.parametrize(
    ("dataset", "changed"),
    [
        (Ring, {"dim": 3, "modes": 9, "radius": 2.0, "std": 0.02, "n_train": 51, "n_held_out": 52}),
        (
            Gaussian,
            {"dim": 3, "mean": 1.0, "std": 0.02, "n_train": 51, "n_held_out": 52, **COVARIANCE},
        ),
    ],
)
def test_fingerprint_names_every_field(dataset: type[Dataset], changed: dict[str, Any]) -> None:
    assert set(changed) == set(dataset.model_fields) - {"name"}
    fields: list[dict[str, Any]] = [{}, *({key: value} for key, value in changed.items())]
    prints = {dataset.model_validate(values).fingerprint(Path("unused")) for values in fields}
    assert len(prints) == len(changed) + 1


def test_ring_in_space_is_the_flat_ring_with_noise_all_around() -> None:
    flat, space = Ring(n_train=4000), Ring(dim=3, n_train=4000, std=0.05)
    assert space.shape == (3,)
    torch.testing.assert_close(space.centres(), torch.cat((flat.centres(), torch.zeros(8, 1)), dim=1))
    points = space.train(Path("unused"))
    offsets = points - space.centres()[torch.cdist(points, space.centres()).argmin(dim=1)]
    assert offsets.std(dim=0).tolist() == pytest.approx([0.05] * 3, rel=0.05)


def test_the_submission_s_ring_is_the_same_1_000_points_each_time() -> None:
    """Radius 2 and standard deviation 0.2; the held-out points are others."""
    ring = Ring(radius=2.0, std=0.2, n_train=1000)
    points = ring.train(Path("unused"))
    assert points.shape == (1000, 2)
    assert torch.equal(points, Ring(radius=2.0, std=0.2, n_train=1000, n_held_out=5).train(Path("unused")))
    distance = torch.cdist(points.double(), ring.centres().double()).amin(dim=1)
    assert distance.square().mean().sqrt().item() == pytest.approx(0.2 * 2**0.5, rel=0.05)


def test_two_dimensional_ring_is_as_it_was() -> None:
    """Published numbers depend on these points."""
    assert digest(Ring(n_train=50).train(Path("unused"))) == "7063cdd54344349d"


def test_gaussian_has_the_stated_moments() -> None:
    data = Gaussian(dim=3, mean=-2.0, std=0.5, n_train=20_000)
    points = data.train(Path("unused"))
    assert points.mean(dim=0).tolist() == pytest.approx([-2] * 3, abs=0.02)
    torch.testing.assert_close(points.T.cov(), 0.25 * torch.eye(3), atol=0.01, rtol=0)
    mixture = data.mixture()
    assert mixture is not None
    assert mixture.centres.tolist() == [[-2, -2, -2]]
    assert not set(map(tuple, points.tolist())) & set(map(tuple, data.held_out(Path("unused")).tolist()))


def test_gaussian_has_the_stated_covariance() -> None:
    """That of the submission's code."""
    covariance = [[0.25, 0.25], [0.25, 1.0]]
    data = Gaussian.model_validate({"covariance": covariance, "n_train": 20_000})
    torch.testing.assert_close(data.train(Path("unused")).T.cov(), torch.tensor(covariance), atol=0.03, rtol=0)
    assert data.mixture() is None
    isotropic = Gaussian.model_validate({"covariance": [[0.25, 0], [0, 0.25]]})
    torch.testing.assert_close(isotropic.train(Path("unused")), Gaussian(std=0.5).train(Path("unused")))


@pytest.mark.parametrize(
    ("covariance", "rule"),
    [
        ([[1, 0]], "2 rows of 2"),
        ([[1, 0], [0, 1, 0]], "2 rows of 2"),
        ([[1, 2], [2, 1]], "positive definite"),
        ([[1, 0.5], [0.25, 1]], "symmetric"),
    ],
)
def test_an_illegal_covariance_is_refused(covariance: list[list[float]], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        Gaussian.model_validate({"covariance": covariance})


def test_ring_does_not_use_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    Ring(n_train=10).train(Path("unused"))
    assert torch.equal(torch.random.get_rng_state(), before)


# CIFAR-10


@pytest.fixture
def cifar_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images in the official layout, their checksums told to torchvision."""
    for name, value in cifar_files(tmp_path).items():
        monkeypatch.setattr(CIFAR10, name, value)
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


def one_line(error: Unavailable, *parts: str) -> None:
    assert len(str(error).splitlines()) == 1, str(error)
    assert all(part in str(error) for part in parts), str(error)


# MNIST


def mnist_files(root: Path) -> list[tuple[str, str]]:
    """Writes five training and three test images as the official idx archives; returns names and checksums."""
    folder = root / mnist.FOLDER
    folder.mkdir(parents=True)
    rng = np.random.RandomState(0)
    resources = []
    for part, n in (("train", 5), ("t10k", 3)):
        images = struct.pack(">4i", 2051, n, 28, 28) + rng.bytes(n * 784)
        labels = struct.pack(">2i", 2049, n) + bytes(range(n))
        for name, content in ((f"{part}-images-idx3-ubyte.gz", images), (f"{part}-labels-idx1-ubyte.gz", labels)):
            (folder / name).write_bytes(gzip.compress(content))
            resources.append((name, hashlib.md5((folder / name).read_bytes()).hexdigest()))
    return resources


@pytest.fixture
def mnist_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archives, their checksums told to torchvision."""
    monkeypatch.setattr(MNIST, "resources", mnist_files(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("offline")
def test_mnist_reads_the_official_files(mnist_root: Path) -> None:
    Mnist().check(mnist_root)
    for part, name in ((Mnist().train(mnist_root), "train"), (Mnist().held_out(mnist_root), "t10k")):
        stored = gzip.decompress((mnist_root / mnist.FOLDER / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]
        assert part.dtype == torch.uint8
        assert part.shape == (len(stored) // 784, 1, 28, 28)
        assert part.numpy().tobytes() == stored


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("damage", ["half a download", "half unpacked", "unpacked to nothing", "of another kind"])
def test_damaged_mnist_is_found_before_training(damage: str, mnist_root: Path) -> None:
    folder = mnist_root / mnist.FOLDER
    archive = folder / "t10k-images-idx3-ubyte.gz"
    if damage == "half a download":
        archive.write_bytes(archive.read_bytes()[:-100])
    else:
        Mnist().check(mnist_root)
        whole = archive.with_suffix("").read_bytes()
        content = {"half unpacked": whole[:1000], "unpacked to nothing": b"", "of another kind": b"<html>" * 200}
        archive.with_suffix("").write_bytes(content[damage])
    with pytest.raises(Unavailable, match="mnist") as caught:
        Mnist().check(mnist_root)
    one_line(caught.value, str(folder), mnist.URL)


@pytest.mark.usefixtures("offline")
def test_official_files_that_may_not_be_read_are_one_line(unprivileged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cifar_files(unprivileged).items():
        monkeypatch.setattr(CIFAR10, name, value)
    monkeypatch.setattr(MNIST, "resources", mnist_files(unprivileged))
    for data, folder in ((Cifar10(), FOLDER), (Mnist(), mnist.FOLDER)):
        data.check(unprivileged)
        for file in (unprivileged / folder).iterdir():
            file.chmod(0)
        for attempt in (data.check, data.train):
            with pytest.raises(Unavailable, match=data.name) as caught:
                attempt(unprivileged)
            one_line(caught.value, str(unprivileged))


# Image folders


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Sixty digits as PNG files at various depths, beside files that are no images."""
    folder = tmp_path / "my pictures, ünïcode"
    for i, image in enumerate(load_split()[0][:60]):
        file = folder / ("deep/er" if i % 2 else ".") / f"{i:02}.PNG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(file, "png")
    (folder / "notes.txt").write_text("no image")
    (folder / "._00.png").write_text("what macOS leaves on other disks")
    return folder


def folder_of(pictures: Path, **fields: Any) -> ImageFolder:
    return ImageFolder.model_validate({"path": str(pictures), "size": 8, "grey": True, **fields})


def test_image_folder_holds_the_pixels_of_every_file_once(pictures: Path, tmp_path: Path) -> None:
    data = folder_of(pictures)
    data.check(tmp_path)
    train, held_out = data.train(tmp_path), data.held_out(tmp_path)
    assert train.dtype == held_out.dtype == torch.uint8
    assert train.shape[1:] == held_out.shape[1:] == data.shape == (1, 8, 8)
    expected = {bytes(image.numpy().tobytes()) for image in load_split()[0][:60]}
    assert len(expected) == 60
    assert len(train) + len(held_out) == 60
    assert {image.numpy().tobytes() for image in torch.cat((train, held_out))} == expected
    assert 4 <= len(held_out) <= 22, "a fifth of 60, within three standard deviations"


def test_image_folder_path_may_be_relative_to_the_data_root(pictures: Path, tmp_path: Path) -> None:
    data = folder_of(Path(pictures.name))
    assert torch.equal(data.train(tmp_path), folder_of(pictures).train(tmp_path))


def test_adding_and_removing_files_never_moves_one(pictures: Path, tmp_path: Path) -> None:
    before = folder_of(pictures).held_out(tmp_path)
    for i, image in enumerate(load_split()[0][60:120]):
        Image.fromarray(image[0].numpy()).save(pictures / f"new {i}.png")
    (pictures / "00.PNG").unlink()
    (pictures / "deep" / "er" / "01.PNG").unlink()
    after = folder_of(pictures)
    rows = [{image.numpy().tobytes() for image in part} for part in (before, after.held_out(tmp_path))]
    removed = {image.numpy().tobytes() for image in load_split()[0][:2]}
    assert rows[0] - removed <= rows[1]
    assert not rows[0] & {image.numpy().tobytes() for image in after.train(tmp_path)}


def test_the_side_of_a_file_is_fixed() -> None:
    """Every published FID on someone's images depends on it. The composed and decomposed forms are one name."""
    data = ImageFolder(path="x", size=8)
    sides = "".join(str(int(data.is_held_out(f"{i}.png"))) for i in range(32))
    assert sides == "10000011100000100010000000000000"
    names = [f"{i}ü.png" for i in range(32)]
    assert [data.is_held_out(name) for name in names] == [data.is_held_out(n.replace("ü", "u\u0308")) for n in names]


def test_changed_files_are_read_again(pictures: Path, tmp_path: Path) -> None:
    """Guards against the cache that shows yesterday's images."""
    data = folder_of(pictures, allow_copies=True)
    before, print_before = data.train(tmp_path), data.fingerprint(tmp_path)
    for file in pictures.rglob("*.PNG"):
        Image.new("L", (8, 8), 77).save(file, "png")
        os.utime(file, (1, 1))
    assert data.fingerprint(tmp_path) != print_before
    assert (data.train(tmp_path) == 77).all()
    assert not (before == 77).all()


def test_images_are_decoded_once(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = folder_of(pictures).train(tmp_path)

    def refuse(*_: object) -> Tensor:
        raise AssertionError("decoded a second time")

    monkeypatch.setattr("gramtune.data.image_folder.decode", refuse)
    assert torch.equal(folder_of(pictures).train(tmp_path), first)


def test_a_damaged_cache_is_made_again(pictures: Path, tmp_path: Path) -> None:
    data = folder_of(pictures)
    first = data.train(tmp_path).clone()
    (cache,) = (tmp_path / "decoded").iterdir()
    cache.write_bytes(cache.read_bytes()[:1000])
    assert torch.equal(data.train(tmp_path), first)


def test_images_are_turned_cropped_and_resized(tmp_path: Path) -> None:
    """A wide photograph: red, green, blue thirds. A phone's photograph, lying on its side, is turned upright first."""
    wide = np.zeros((40, 120, 3), np.uint8)
    for third in range(3):
        wide[:, 40 * third : 40 * third + 40, third] = 255
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(30):
        Image.fromarray(wide).save(folder / f"{i}.png")
    parts = ImageFolder(path=str(folder), size=10, allow_copies=True)
    for part in (parts.train(tmp_path), parts.held_out(tmp_path)):
        assert part.shape[1:] == (3, 10, 10)
        inside = part[..., 1:-1]  # the outermost columns blend with what is cut off
        assert (inside == torch.tensor([0, 255, 0]).view(3, 1, 1)).all(), "not the middle third"

    upright = np.zeros((20, 20), np.uint8)
    upright[:10] = 255  # the sky is above
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90° clockwise to view"
    for i in range(30):
        Image.fromarray(np.rot90(upright)).save(folder / f"{i}.png", exif=exif)
    train = ImageFolder(path=str(folder), size=20, grey=True, allow_copies=True).train(tmp_path)
    assert (train == torch.from_numpy(upright)).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "CMYK"])
@pytest.mark.parametrize("grey", [False, True])
def test_every_kind_of_8_bit_image_is_read(mode: str, grey: bool, tmp_path: Path) -> None:
    folder = tmp_path / "kinds"
    folder.mkdir()
    suffix = "tif" if mode == "CMYK" else "png"
    for i in range(30):
        Image.new("L", (9, 12), 255).convert(mode).save(folder / f"{i}.{suffix}")
    train = folder_of(folder, grey=grey, allow_copies=True).train(tmp_path)
    assert train.shape[1:] == (1 if grey else 3, 8, 8)
    assert (train == 255).all()


@pytest.mark.parametrize("damage", ["truncated", "empty", "a web page", "16 bits", "a link to nowhere"])
def test_damaged_images_are_one_line_before_training(damage: str, pictures: Path, tmp_path: Path) -> None:
    file = pictures / "deep" / "er" / "07.PNG"
    content = file.read_bytes()
    file.unlink()
    if damage == "16 bits":
        Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(file, "png")
    elif damage == "a link to nowhere":
        file.symlink_to(tmp_path / "nowhere")
    else:
        file.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "a web page": b"<html>"}[damage])
    with pytest.raises(Unavailable) as caught:
        folder_of(pictures).check(tmp_path)
    one_line(caught.value, "deep/er/07.PNG")


def test_all_damaged_images_are_counted(pictures: Path, tmp_path: Path) -> None:
    for name in ("04.PNG", "02.PNG", "06.PNG"):
        (pictures / name).write_bytes(b"")
    with pytest.raises(Unavailable, match=r"^3 of 60 images ") as caught:
        folder_of(pictures).check(tmp_path)
    assert all(name in str(caught.value) for name in ("02.PNG (", "04.PNG (", "06.PNG ("))
    assert not list(tmp_path.glob("decoded/*")), "a faulty set was kept"


def test_copies_on_both_sides_of_the_split_are_found_by_their_pixels(pictures: Path, tmp_path: Path) -> None:
    data = folder_of(pictures)
    data.check(tmp_path)
    inside = [path.relative_to(pictures).as_posix() for path in pictures.rglob("*.PNG")]
    train = sorted(name for name in inside if not data.is_held_out(name))[:2]
    copies = [f"copy {i}.png" for i in range(50) if data.is_held_out(f"copy {i}.png")]
    for name, copy in zip(train, copies, strict=False):
        Image.open(pictures / name).save(pictures / copy, compress_level=1)  # other bytes, equal pixels
    with pytest.raises(Unavailable, match="2 training images under") as caught:
        data.check(tmp_path)
    assert all(f"{name} = {copy}" in str(caught.value) for name, copy in zip(train, copies, strict=False))
    one_line(caught.value, str(tmp_path))
    same_side = next(f"again {i}.png" for i in range(50) if not data.is_held_out(f"again {i}.png"))
    for copy in copies[:2]:
        (pictures / copy).unlink()
    shutil.copy(pictures / train[0], pictures / same_side)
    data.check(tmp_path)


@pytest.mark.filterwarnings("error")
def test_a_warning_of_pillow_names_its_file(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (60, 60)).save(pictures / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # half of what is refused
    with pytest.warns(
        UserWarning, match=r"1 of 61 images under .* may be damaged: large.png \(Image size \(3600 pixels"
    ):
        folder_of(pictures).check(tmp_path)


def test_links_to_folders_are_followed_and_loops_left(pictures: Path, tmp_path: Path) -> None:
    """Linked subfolders were left out in silence, and half of the set with them."""
    (pictures / "deep").rename(tmp_path / "elsewhere")
    (pictures / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(pictures, target_is_directory=True)
    data = folder_of(pictures)
    assert len(data.train(tmp_path)) + len(data.held_out(tmp_path)) == 60


def test_hidden_folders_are_left_out(pictures: Path, tmp_path: Path) -> None:
    """Thumbnails of the same images came into the set."""
    for name in (".thumbnails", "deep/.ipynb_checkpoints"):
        (pictures / name).mkdir()
        Image.new("L", (8, 8)).save(pictures / name / "small.png")
    data = folder_of(pictures)
    assert len(data.train(tmp_path)) + len(data.held_out(tmp_path)) == 60


def test_an_unreadable_folder_is_reported_and_not_skipped(unprivileged: Path) -> None:
    """In silence the set would be another one."""
    for i, image in enumerate(load_split()[0][:60]):
        file = unprivileged / "own" / ("closed" if i % 10 == 0 else ".") / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(file)
    data = ImageFolder(path="own", size=8, grey=True)
    data.check(unprivileged)
    (unprivileged / "own" / "closed").chmod(0)
    with pytest.raises(Unavailable, match="Permission denied") as caught:
        data.check(unprivileged)
    one_line(caught.value, str(unprivileged / "own" / "closed"))
    (unprivileged / "own" / "closed").chmod(0o700)
    (unprivileged / "own" / "3.png").chmod(0)
    (unprivileged / "own" / "3.png").rename(unprivileged / "own" / "x.png")  # another name: not decoded before
    with pytest.raises(Unavailable, match="Permission denied") as caught:
        data.check(unprivileged)
    one_line(caught.value, "x.png")


def test_empty_and_missing_folders_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, reason in (("empty", "0 images"), ("nowhere", "not a folder")):
        with pytest.raises(Unavailable, match=reason) as caught:
            folder_of(tmp_path / name).check(tmp_path)
        one_line(caught.value, str(tmp_path / name))


# CelebA


@pytest.fixture
def celeba_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nine faces of one grey level each in the official layout, the lists' checksums told to torchvision."""
    folder = tmp_path / celeba.FOLDER
    (folder / celeba.IMAGES).mkdir(parents=True)
    names = [f"{i:06}.jpg" for i in range(1, 10)]
    for i, name in enumerate(names):
        Image.new("RGB", (178, 218), (20 * i,) * 3).save(folder / celeba.IMAGES / name)
    lists = {
        "list_eval_partition.txt": [f"{name} {i // 3}" for i, name in enumerate(names)],
        "identity_CelebA.txt": [f"{name} {i}" for i, name in enumerate(names)],
        "list_bbox_celeba.txt": ["9", "image_id x_1 y_1 width height", *(f"{name}  1 2 3 4" for name in names)],
        "list_landmarks_align_celeba.txt": ["9", "lefteye_x lefteye_y", *(f"{name}  1 2" for name in names)],
        "list_attr_celeba.txt": ["9", "Smiling Young", *(f"{name}  1 -1" for name in names)],
    }
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    sums = [("", hashlib.md5((folder / name).read_bytes()).hexdigest(), name) for name in lists]
    monkeypatch.setattr(CelebAFiles, "file_list", sums)
    return tmp_path


def test_celeba_is_the_official_partition(celeba_root: Path) -> None:
    """0, 1, 2 in the list are training, validation and test; the validation faces are used for nothing."""
    CelebA().check(celeba_root)
    train, held_out = CelebA().train(celeba_root), CelebA().held_out(celeba_root)
    assert train.shape == held_out.shape == (3, *CelebA().shape)
    assert train.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([0, 20, 40], abs=1)
    assert held_out.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([120, 140, 160], abs=1)


def test_celeba_may_be_chosen_on_its_validation_part(celeba_root: Path) -> None:
    data = CelebA(select_on="validation")
    data.check(celeba_root)
    assert data.held_out(celeba_root).float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([60, 80, 100], abs=1)
    assert torch.equal(data.train(celeba_root), CelebA().train(celeba_root))
    assert data.for_report() == CelebA()
    assert data.fingerprint(celeba_root) != CelebA().fingerprint(celeba_root)
    assert (data.held_out_name, CelebA().held_out_name) == ("validation", "held-out")


def test_decoded_celeba_needs_its_files_no_more(celeba_root: Path) -> None:
    train = CelebA().train(celeba_root).clone()
    (celeba_root / celeba.FOLDER).rename(celeba_root / "moved away")
    CelebA().check(celeba_root)
    assert torch.equal(CelebA().train(celeba_root), train)


@pytest.mark.parametrize("damage", ["a list", "an image", "a missing image", "a missing list"])
def test_damaged_celeba_is_one_line(damage: str, celeba_root: Path) -> None:
    image, names = f"{celeba.IMAGES}/000008.jpg", "list_eval_partition.txt"
    file = celeba_root / celeba.FOLDER / (image if "image" in damage else names)
    if "missing" in damage:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(Unavailable) as caught:
        CelebA().check(celeba_root)
    one_line(caught.value, str(celeba_root / celeba.FOLDER), "000008.jpg" if "image" in damage else celeba.URL)


class Table(Ring):
    """A user's data set whose samples have two dimensions."""

    @property
    def shape(self) -> Shape:
        return (2, 4)


def test_samples_that_are_neither_images_nor_points_are_refused_before_anything_starts(
    ring_config: Settings, tmp_path: Path
) -> None:
    """They would have been trained as points, and the trial would have failed at its first evaluation."""
    config = TrialConfig.model_validate(ring_config).model_copy(update={"data": Table(n_train=200, n_held_out=200)})
    found = dict(issues_of([config], tmp_path))
    assert found["data",] == "samples of shape (2, 4) should be images (C, H, W) or points (d,)"
