"""The evaluator: what is cached and what invalidates a cache, non-finite samples, misfits found before the start."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from gramtune.components import Metric
from gramtune.data.digits import Digits, load_split
from gramtune.data.ring import Ring
from gramtune.features.digits_cnn import DigitsCnn
from gramtune.metrics.frechet import frechet_distance, moments
from gramtune.metrics.modes import Modes
from gramtune.pixels import to_float
from gramtune.registry import classes
from gramtune.space.plan import issues_of, sample_warnings
from gramtune.training.config import TrialConfig
from gramtune.training.evaluator import Evaluator
from gramtune.training.real_data import RealData, extract

CPU = torch.device("cpu")
ON_DIGITS = [name for name, cls in classes(Metric).items() if cls.extractor == "digits_cnn"]
ON_POINTS = [name for name, cls in classes(Metric).items() if cls.extractor == "identity"]
Settings = dict[str, Any]


def configured(settings: Settings, *metrics: str, **other: Any) -> TrialConfig:
    primary = next(iter(classes(Metric)[metrics[0]].model_validate({"name": metrics[0]}).directions))
    return TrialConfig.model_validate(settings | {"metrics": list(metrics), "metric": primary} | other)


def write(folder: Path, images: Tensor) -> None:
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(folder / f"{i}.png")


def test_every_metric_on_digits_at_once(digits_config: Settings) -> None:
    assert {"fid_digits", "kid_digits", "precision_recall_digits"} <= set(ON_DIGITS)
    config = configured(digits_config, *ON_DIGITS)
    scores = Evaluator(config, Path("unused"), CPU).scores(to_float(Digits().train(Path("unused"))))
    assert scores.keys() == config.directions.keys()
    assert abs(scores["kid_digits"]) < 4 * scores["kid_digits_se"], "training and held-out digits agree"
    assert min(scores["precision_digits"], scores["recall_digits"]) > 0.7


def test_every_metric_on_the_ring_at_once(ring_config: Settings) -> None:
    assert {"modes", "sliced_wasserstein"} <= set(ON_POINTS)
    config = configured(ring_config, *ON_POINTS)
    scores = Evaluator(config, Path("unused"), CPU).scores(Ring().train(Path("unused"))[:3000])  # of 50,000
    assert scores["modes"] == 8
    assert scores["high_quality"] > 0.98
    assert scores["sliced_wasserstein"] < 0.15, "300 held-out points"


def test_images_are_scored_as_the_bytes_of_a_file(digits_config: Settings) -> None:
    config = configured(digits_config, "fid_digits")
    images = to_float(Digits().train(Path("unused")))
    scores = Evaluator(config, Path("unused"), CPU).scores(images + 0.4 / 127.5)
    held_out = extract(DigitsCnn().load(Path("unused"), CPU), Digits().held_out(Path("unused")))
    features = extract(DigitsCnn().load(Path("unused"), CPU), images)
    assert scores["fid_digits"] == pytest.approx(frechet_distance(moments(held_out), features), rel=1e-9)


def test_held_out_features_are_computed_once(digits_config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """For all metrics of an extractor, and all trials that share the data."""
    reads = []
    original = Digits.held_out
    monkeypatch.setattr(Digits, "held_out", lambda self, root: reads.append(root) or original(self, root))
    real = RealData()
    for _ in range(2):
        Evaluator(configured(digits_config, *ON_DIGITS), Path("unused"), CPU, real).scores(torch.zeros(100, 1, 8, 8))
    assert len(reads) == 1


def test_metrics_that_need_no_real_data_read_none(ring_config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError("read")

    monkeypatch.setattr(Ring, "held_out", refuse)
    scores = Evaluator(configured(ring_config, "modes"), Path("unused"), CPU).scores(torch.zeros(100, 2))
    assert scores == {"modes": 0, "high_quality": 0}


def test_a_folder_whose_images_change_is_read_again(digits_config: Settings, tmp_path: Path) -> None:
    """Guards against a process that compares with the images of its previous trial."""
    data = {"name": "image_folder", "path": "own", "size": 8, "grey": True}
    config = configured(digits_config, "kid_digits", data=data)
    before, after = load_split()[0][:60], load_split()[0][600:660]
    fake = to_float(load_split()[1][:100])
    write(tmp_path / "own", before)
    real = RealData()
    first = Evaluator(config, tmp_path, CPU, real).scores(fake)
    first_train = real.library.train(config.data, tmp_path, CPU).clone()
    assert Evaluator(config, tmp_path, CPU, real).scores(fake) == first
    write(tmp_path / "own", after)
    for file in (tmp_path / "own").iterdir():
        os.utime(file, (1, 1))
    assert Evaluator(config, tmp_path, CPU, real).scores(fake) != first
    assert not torch.equal(real.library.train(config.data, tmp_path, CPU), first_train)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("shape", [(2,), (1, 8, 8)], ids=str)
def test_non_finite_samples_have_no_score(
    value: float, shape: tuple[int, ...], ring_config: Settings, digits_config: Settings
) -> None:
    """As bytes NaN is 0, and no sample near a mode is a share of 0: either would be a number."""
    config = configured(ring_config, "modes") if len(shape) == 1 else configured(digits_config, "fid_digits")
    samples = torch.zeros(100, *shape)
    samples[7] = value
    with pytest.raises(ArithmeticError, match="samples are not finite"):
        Evaluator(config, Path("unused"), CPU).scores(samples)


def test_a_non_finite_metric_is_an_error(ring_config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Modes, "compute", lambda *_: {"modes": 1.0, "high_quality": math.nan})
    with pytest.raises(ArithmeticError, match="high_quality is nan"):
        Evaluator(configured(ring_config, "modes"), Path("unused"), CPU).scores(torch.zeros(100, 2))


def test_a_metric_that_does_not_fit_the_data_is_one_line_before_the_start(digits_config: Settings) -> None:
    (misfit,) = issues_of([configured(digits_config, "modes")], Path("unused"))
    assert misfit.part == ("metrics", 0)
    assert misfit.message.startswith("metric modes needs data whose modes are known")


@pytest.mark.parametrize(
    ("metric", "samples", "reason"),
    [("modes", 79, "missed by chance"), ("sliced_wasserstein", 1, "does not define a distribution")],
)
def test_too_few_samples_are_reported(metric: str, samples: int, reason: str, ring_config: Settings) -> None:
    def warnings(count: int) -> list[str]:
        training = ring_config["training"] | {"eval_samples": count}
        return sample_warnings(configured(ring_config, metric, training=training))

    (line,) = warnings(samples)
    assert reason in line
    assert metric in line
    assert warnings(samples + 1) == []
