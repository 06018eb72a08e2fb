"""When a metric is computed, with which real data, and how often Inception runs for two metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inception_weights import random_state
from pydantic import ValidationError
from sweeps import BASE, SPACE, write_space

from gramtune.analysis.compatibility import NamedSweep, check_comparable
from gramtune.data.digits import Digits
from gramtune.errors import SpecError
from gramtune.features import inception
from gramtune.metrics.frechet import FidDigits, frechet_distance, moments
from gramtune.metrics.inception_score import InceptionScore
from gramtune.metrics.kid import KidDigits
from gramtune.record.pruning import Rungs
from gramtune.record.state import SweepState
from gramtune.record.versions import changed_since, versions
from gramtune.run.trial_runner import TrialRun
from gramtune.space.load import load_sweep
from gramtune.space.plan import make_plan
from gramtune.training.config import TrialConfig
from gramtune.training.evaluator import Evaluator
from gramtune.training.real_data import extract

CPU = torch.device("cpu")
Settings = dict[str, Any]


def digits(config: Settings, metrics: list[Any], **training: Any) -> TrialConfig:
    return TrialConfig.model_validate(config | {"metrics": metrics, "training": config["training"] | training})


# Clocks


def test_a_metric_has_values_on_its_own_clock_and_at_both_ends(digits_config: Settings, tmp_path: Path) -> None:
    config = digits(digits_config, ["fid_digits", {"name": "kid_digits", "every": 6}], steps=10, eval_every=2)
    trial = TrialRun(config, tmp_path, tmp_path, CPU)
    found = {}
    for _ in config.training.evaluations:
        report = trial.step().to_json()
        found[report["step"]] = report["metrics"]
    assert [step for step, metrics in found.items() if "kid_digits" in metrics] == [0, 6, 10]
    assert [step for step, metrics in found.items() if "fid_digits" in metrics] == [0, 2, 4, 6, 8, 10]
    plain = TrialRun(
        digits(digits_config, ["fid_digits", "kid_digits"], steps=10, eval_every=2), tmp_path / "p", tmp_path, CPU
    )
    for step in found:
        every = plain.step().to_json()["metrics"]
        assert found[step] == {key: every[key] for key in found[step]}


def test_the_interval_of_a_metric_is_a_multiple_of_eval_every(digits_config: Settings) -> None:
    with pytest.raises(ValidationError, match=r"every = 6 should be a multiple of training.eval_every \(4\)"):
        digits(digits_config, [{"name": "fid_digits", "every": 6}], eval_every=4, steps=8)


def test_rungs_lie_where_the_primary_metric_has_a_value(tmp_path: Path) -> None:
    base = BASE.replace("[fid_digits]", "[{name: fid_digits, every: 6}]").replace("steps: 6", "steps: 60")
    path = write_space(tmp_path, SPACE + "pruner: {name: asha, reduction_factor: 3}\n", base)
    state = SweepState(make_plan(load_sweep(path), tmp_path))
    assert Rungs.of(state).steps("critic_dim=1") == [6, 18, 54]


# Real data


def test_against_the_training_set_is_the_same_formula_on_its_features(digits_config: Settings, tmp_path: Path) -> None:
    config = digits(digits_config, [{"name": "fid_digits", "against": "train"}])
    data, network = Digits(), config.extractors["digits_cnn"].load(tmp_path, CPU)
    fake = torch.rand(200, *data.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    own = Evaluator(config, tmp_path, CPU)
    expected = frechet_distance(moments(extract(network, data.train(tmp_path))), own_features(network, fake))
    assert own.scores(fake)["fid_digits"] == pytest.approx(expected)
    held_out = Evaluator(digits(digits_config, ["fid_digits"]), tmp_path, CPU).scores(fake)["fid_digits"]
    assert abs(held_out - expected) > 1e-6 * expected


def own_features(network: torch.nn.Module, fake: torch.Tensor) -> torch.Tensor:
    from gramtune.pixels import to_float, to_uint8

    return extract(network, to_float(to_uint8(fake)))


@pytest.fixture
def statistics(tmp_path: Path) -> Path:
    """Those of the held-out digits, as pytorch-fid would write them."""
    features = extract(digits_network(tmp_path), Digits().held_out(tmp_path)).double().numpy()
    np.savez(tmp_path / "digits.npz", mu=features.mean(axis=0), sigma=np.cov(features, rowvar=False))
    return tmp_path / "digits.npz"


def digits_network(root: Path) -> torch.nn.Module:
    from gramtune.features.digits_cnn import DigitsCnn

    return DigitsCnn().load(root, CPU)


def test_statistics_of_the_held_out_set_give_its_values(
    statistics: Path, digits_config: Settings, tmp_path: Path
) -> None:
    fake = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    by_file = Evaluator(digits(digits_config, [{"name": "fid_digits", "against": statistics.name}]), tmp_path, CPU)
    by_set = Evaluator(digits(digits_config, ["fid_digits"]), tmp_path, CPU)
    assert by_file.scores(fake)["fid_digits"] == pytest.approx(by_set.scores(fake)["fid_digits"], rel=1e-6)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "cannot be read"),
        (b"no zip", "should be an .npz file with mu and sigma"),
        ({"mu": np.zeros(3)}, "should be an .npz file with mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, r"holds mu \[3\] and sigma \[3, 3\]; needed: \["),
    ],
)
def test_a_file_without_the_statistics_is_refused_before_the_start(content: Any, rule: str, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / "s.npz").write_bytes(content)
    elif content:
        np.savez(tmp_path / "s.npz", **content)
    base = BASE.replace("[fid_digits]", "[{name: fid_digits, against: s.npz}]")
    path = write_space(tmp_path, SPACE, base)
    with pytest.raises(SpecError, match=rule) as caught:
        make_plan(load_sweep(path), tmp_path)
    (issue,) = caught.value.issues
    assert "tiny.yaml:6" in issue.where


def test_only_a_metric_with_real_data_has_something_to_compare_with() -> None:
    assert FidDigits(against="any.npz").against == "any.npz"
    assert KidDigits(against="train").against == "train"
    with pytest.raises(ValidationError, match="should be held_out or train"):
        KidDigits(against="any.npz")
    with pytest.raises(ValidationError, match="should be held_out"):
        InceptionScore(against="train")


def test_the_file_is_recorded_and_values_against_different_data_are_not_ranked(
    statistics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAMTUNE_DATA", str(tmp_path))
    by_file = BASE.replace("[fid_digits]", f"[{{name: fid_digits, against: {statistics.name}}}]")
    states = []
    for base in (BASE, by_file):
        path = write_space(tmp_path, SPACE, base)
        states.append(SweepState(make_plan(load_sweep(path), tmp_path)))
    then = versions(states[1].plan)
    assert then["references"]["fid_digits"].startswith("digits.npz ")
    assert not changed_since(then, versions(states[1].plan))
    with np.load(statistics) as stored:
        np.savez(statistics, mu=stored["mu"] + 1, sigma=stored["sigma"])
    assert any(
        change.startswith("references fid_digits digits.npz")
        for change in changed_since(then, versions(states[1].plan))
    )
    bases = {state.basis(state.records["critic_dim=1"]) for state in states}
    assert len(bases) == 2
    with pytest.raises(SpecError, match="real data"):
        check_comparable(
            [
                NamedSweep(name=name, state=state, folder=tmp_path / name)
                for name, state in zip("ab", states, strict=True)
            ]
        )


# Inception


def test_inception_runs_once_for_fid_and_inception_score(
    digits_config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values are those of two passes, to the last bit."""
    weights = tmp_path / "weights.pth"
    torch.save(random_state(), weights)
    monkeypatch.setenv(inception.ENV, str(weights))
    folder = tmp_path / "pictures"
    folder.mkdir()
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    data = {"name": "image_folder", "path": str(folder), "size": 32}
    score = {"name": "inception_score", "splits": 2}
    network = {"name": "dcgan", "noise_dim": 4, "width": 4}

    def evaluator(*metrics: Any) -> Evaluator:
        config = digits_config | {"data": data, "network": network, "metrics": list(metrics)}
        first = metrics[0] if isinstance(metrics[0], str) else metrics[0]["name"]
        return Evaluator(TrialConfig.model_validate(config | {"metric": first}), tmp_path, CPU)

    fake = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    apart = evaluator("fid").scores(fake) | evaluator(score).scores(fake)
    both = evaluator("fid", score)
    both.scores(fake)  # the reference is made
    passes = 0
    forward = inception.Pool3.forward

    def counting(self: inception.Pool3, images: torch.Tensor) -> torch.Tensor:
        nonlocal passes
        passes += 1
        return forward(self, images)

    monkeypatch.setattr(inception.Pool3, "forward", counting)
    assert both.scores(fake) == apart
    assert passes == 1
