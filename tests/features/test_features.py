"""Feature extractors: the shipped digit features, and Inception as in pytorch-fid."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from inception_weights import random_state
from PIL import Image
from pytorch_fid import inception as pytorch_fid_inception
from pytorch_fid.fid_score import get_activations
from torch import Tensor, nn

from gramtune.components import FeatureExtractor, Shape, Unavailable
from gramtune.data.digits import load_split
from gramtune.data.image_folder import ImageFolder
from gramtune.features import inception
from gramtune.features.digits_cnn import DigitsCnn
from gramtune.features.identity import Identity
from gramtune.features.inception import ENV, WEIGHTS_FILE, Inception
from gramtune.features.inception_logits import InceptionLogits
from gramtune.metrics.frechet import frechet_distance, moments
from gramtune.pixels import to_float
from gramtune.registry import classes, create
from gramtune.training.config import TrialConfig
from gramtune.training.evaluator import Evaluator
from gramtune.training.real_data import extract

CPU = torch.device("cpu")
SHAPES: list[Shape] = [(2,), (1, 8, 8), (1, 28, 28), (3, 32, 32)]
NAMES = list(classes(FeatureExtractor))


@pytest.fixture(scope="session")
def inception_state() -> dict[str, Tensor]:
    """Random weights for pytorch-fid's network."""
    return random_state()


@pytest.fixture(scope="session")
def weight_file(inception_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real format: a state dict in a .pth file."""
    path = tmp_path_factory.mktemp("weights") / WEIGHTS_FILE
    torch.save(inception_state, path)
    return path


@pytest.fixture(scope="session")
def old_weight_file(inception_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as torch wrote it before 1.6, when the official weights were published."""
    path = tmp_path_factory.mktemp("old weights") / WEIGHTS_FILE
    torch.save(inception_state, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str, shape: Shape, weight_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """[B, *shape] → [B, d] float32, frozen, each sample's features independent of the others in its batch."""
    monkeypatch.setenv(ENV, str(weight_file))
    extractor = create(FeatureExtractor, name)
    if (dim := dimension(extractor, shape)) is None:
        with pytest.raises(ValueError, match="×".join(map(str, shape))) as caught:
            extractor.dim(shape)
        assert len(str(caught.value).splitlines()) == 1
        return
    extractor.check(tmp_path)
    network = extractor.load(tmp_path, CPU)
    samples = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features = extract(network, samples)
    assert features.shape == (3, dim)
    assert features.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in network.parameters())
    torch.testing.assert_close(extract(network, samples[1:2]), features[1:2], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(features[0], features[1]), "the features do not tell samples apart"
    assert create(FeatureExtractor, name).fingerprint == extractor.fingerprint


def dimension(extractor: FeatureExtractor, shape: Shape) -> int | None:
    """Feature dimension, or None where the shape is refused."""
    try:
        return extractor.dim(shape)
    except ValueError:
        return None


@pytest.mark.parametrize("name", NAMES)
def test_some_shape_is_read(name: str) -> None:
    assert any(dimension(create(FeatureExtractor, name), shape) for shape in SHAPES)


def test_identity_flattens() -> None:
    x = torch.arange(12.0).view(2, 1, 2, 3)
    assert Identity().dim((1, 2, 3)) == 6
    assert torch.equal(Identity().load(Path("unused"), CPU)(x), x.view(2, 6))


# Digits


def test_digit_features_hold_what_a_classifier_needs() -> None:
    """A linear read-out, fitted on the training part by least squares, is right on 97 % of the held-out part."""
    train, held_out, train_labels, held_out_labels = load_split()
    network = DigitsCnn().load(Path("unused"), CPU)
    x, y = (with_bias(extract(network, to_float(images)).double()) for images in (train, held_out))
    targets = nn.functional.one_hot(train_labels, 10).double()
    readout = torch.linalg.lstsq(x, targets, driver="gelsd").solution
    accuracy = ((y @ readout).argmax(dim=1) == held_out_labels).double().mean().item()
    assert accuracy >= 0.97


def with_bias(features: Tensor) -> Tensor:
    return torch.cat((features, features.new_ones(len(features), 1)), dim=1)


def test_digit_weights_are_the_shipped_file() -> None:
    """The fingerprint is part of every cache key; other weights make other numbers."""
    shipped = (files("gramtune.features") / "digits_cnn.safetensors").read_bytes()
    assert DigitsCnn().fingerprint == f"digits_cnn-{hashlib.sha256(shipped).hexdigest()[:16]}"


# Inception


@pytest.fixture
def theirs(inception_state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """pytorch-fid's own network on the same weights: its download is the only thing replaced."""
    monkeypatch.setattr(pytorch_fid_inception, "load_state_dict_from_url", lambda *_args, **_kwargs: inception_state)
    return pytorch_fid_inception.InceptionV3([pytorch_fid_inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()


@pytest.mark.parametrize(("shape", "mode"), [((3, 32, 32), "RGB"), ((1, 28, 28), "L")], ids=str)
def test_inception_equals_pytorch_fid_on_png_files(
    shape: Shape, mode: str, theirs: nn.Module, weight_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Range, resizing, channels and pooling are those of the pytorch-fid command line, which reads files."""
    monkeypatch.setenv(ENV, str(weight_file))
    images = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy(), mode).save(path)
    expected = get_activations(paths, theirs, batch_size=2, dims=2048, device="cpu", num_workers=0)
    got = extract(Inception().load(tmp_path, CPU), to_float(images))
    assert expected.std() > 0.01, "features that vanish agree with anything"
    torch.testing.assert_close(got.double(), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


def test_logits_are_the_last_layer_on_pool3_without_its_bias(
    theirs: nn.Module, inception_state: dict[str, Tensor], weight_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authors of the inception score multiply by the weights alone."""
    monkeypatch.setenv(ENV, str(weight_file))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = theirs((images + 1) / 2)[0].flatten(1) @ inception_state["fc.weight"].T
    got = extract(InceptionLogits().load(Path("unused"), CPU), images)
    assert inception_state["fc.bias"].abs().max() > 0
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7])
def test_batch_size_does_not_change_fid(chunk: int, weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, str(weight_file))
    network = Inception().load(Path("unused"), CPU)
    real, fake = (to_float(natural(12, seed)) for seed in (0, 1))
    reference = moments(extract(network, real))
    whole = frechet_distance(reference, extract(network, fake))
    assert whole > 0.01
    assert frechet_distance(reference, extract(network, fake, chunk)) == pytest.approx(whole, rel=1e-5)


def natural(n: int, seed: int) -> Tensor:
    """Images with structure at several scales, uint8 [n, 3, 32, 32]; seeds differ in their colours."""
    rng = torch.Generator().manual_seed(seed)
    layers = [
        nn.functional.interpolate(torch.rand(n, 3, side, side, generator=rng), size=32, mode="bilinear")
        for side in (2, 4, 8, 32)
    ]
    tint = torch.rand(1, 3, 1, 1, generator=rng)
    return (255 * (0.7 * sum(layers) / 4 + 0.3 * tint)).clamp(0, 255).to(torch.uint8)


@pytest.mark.slow
def test_fid_equals_the_pytorch_fid_command_line(
    weight_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From files to the number: image_folder, held-out split, features and distance against `python -m pytorch_fid`."""
    monkeypatch.setenv(ENV, str(weight_file))
    pictures, held_out, generated = (tmp_path / name for name in ("pictures", "held out", "generated"))
    for folder, seed in ((pictures, 0), (generated, 1)):
        folder.mkdir()
        for i, image in enumerate(natural(30, seed)):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    data = {"name": "image_folder", "path": str(pictures), "size": 32, "held_out_share": 0.6}
    dataset = ImageFolder.model_validate(data)
    held_out.mkdir()
    for file in pictures.iterdir():
        if dataset.is_held_out(file.name):
            shutil.copy(file, held_out)
    assert 10 <= len(list(held_out.iterdir())) < 30

    config = TrialConfig.model_validate(CONFIG | {"data": data})
    fake = torch.from_numpy(np.stack([np.array(Image.open(file)) for file in sorted(generated.iterdir())]))
    got = Evaluator(config, tmp_path, CPU).scores(to_float(fake.permute(0, 3, 1, 2)))["fid"]
    expected = command_line_fid(held_out, generated, weight_file, tmp_path)
    assert got == pytest.approx(expected, rel=1e-4)


CONFIG = {
    "objective": {"name": "mmd_net", "bandwidths": [1.0]},
    "network": {"name": "dcgan", "noise_dim": 4, "width": 4},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "training": {"batch_size": 4, "steps": 1, "eval_every": 1, "eval_samples": 60},
    "metrics": ["fid"],
    "metric": "fid",
}


def command_line_fid(real: Path, fake: Path, weights: Path, tmp_path: Path) -> float:
    """What pytorch-fid prints; its download folder holds our weights."""
    folder = tmp_path / "torch home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    shutil.copy(weights, folder / WEIGHTS_FILE)
    done = subprocess.run(
        [sys.executable, "-m", "pytorch_fid", str(real), str(fake), "--device", "cpu", "--num-workers", "0"],
        env=os.environ
        | {"TORCH_HOME": str(tmp_path / "torch home"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.rpartition("FID:")[2])


def test_weights_of_an_old_torch_are_the_same(
    weight_file: Path, old_weight_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    states = []
    for path in (weight_file, old_weight_file):
        monkeypatch.setenv(ENV, str(path))
        Inception().check(tmp_path)
        states.append(Inception().load(tmp_path, CPU).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_loading_leaves_pytorch_fid_as_it_was(weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, str(weight_file))
    before = pytorch_fid_inception.load_state_dict_from_url
    Inception().load(Path("unused"), CPU)
    assert pytorch_fid_inception.load_state_dict_from_url is before


def test_other_weights_have_another_fingerprint(weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV, raising=False)
    official = Inception().fingerprint
    monkeypatch.setenv(ENV, str(weight_file))
    assert Inception().fingerprint != official


def assert_one_line(error: Unavailable, *parts: str) -> None:
    assert len(str(error).splitlines()) == 1
    assert all(part in str(error) for part in parts), str(error)


@pytest.mark.usefixtures("offline")
def test_missing_weights_without_network_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV, raising=False)
    with pytest.raises(Unavailable) as caught:
        Inception().check(tmp_path / "not there yet")
    assert_one_line(caught.value, str(tmp_path / "not there yet" / WEIGHTS_FILE), inception.URL, ENV)
    assert list((tmp_path / "not there yet").iterdir()) == [], "half a download was left behind"


def test_half_a_download_is_found_before_training(
    weight_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENV, raising=False)
    (tmp_path / WEIGHTS_FILE).write_bytes(weight_file.read_bytes()[:1000])
    with pytest.raises(Unavailable, match="damaged") as caught:
        Inception().check(tmp_path)
    assert_one_line(caught.value, str(tmp_path / WEIGHTS_FILE), "6726825d")


def test_weights_that_may_not_be_read_are_one_line(unprivileged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV, raising=False)
    (unprivileged / WEIGHTS_FILE).write_bytes(b"weights")
    (unprivileged / WEIGHTS_FILE).chmod(0)
    with pytest.raises(Unavailable, match="cannot be read") as caught:
        Inception().check(unprivileged)
    assert len(str(caught.value).splitlines()) == 1
    assert str(unprivileged / WEIGHTS_FILE) in str(caught.value)


def test_a_variable_that_names_no_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, str(tmp_path / "nothing.pth"))
    with pytest.raises(Unavailable) as caught:
        Inception().check(tmp_path)
    assert_one_line(caught.value, ENV, "nothing.pth")


@pytest.mark.parametrize("damage", ["truncated", "truncated old", "a web page", "another network", "another thing"])
def test_damaged_weights_of_ones_own_are_found_before_training(
    damage: str, weight_file: Path, old_weight_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.pth"
    if damage.startswith("truncated"):
        path.write_bytes((weight_file if damage == "truncated" else old_weight_file).read_bytes()[:1_000_000])
    elif damage == "a web page":
        path.write_text("<html>404 Not Found</html>")
    else:
        torch.save(nn.Linear(2, 2).state_dict() if damage == "another network" else [1, 2], path)
    monkeypatch.setenv(ENV, str(path))
    for use in (lambda: Inception().check(tmp_path), lambda: Inception().load(tmp_path, CPU)):
        with pytest.raises(Unavailable) as caught:
            use()
        assert_one_line(caught.value, str(path), inception.URL)
